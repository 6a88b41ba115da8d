package store

import (
	"errors"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// errInDoubt marks an error of COMMIT after which the rows may exist.
var errInDoubt = errors.New("commit in doubt")

// hasCode reports whether the server answered with one of these SQLSTATEs and
// rolled back.
func hasCode(err error, codes ...string) bool {
	var pgErr *pgconn.PgError
	if errors.Is(err, errInDoubt) || !errors.As(err, &pgErr) {
		return false
	}
	for _, code := range codes {
		// A code of two characters is a class. A pooler may send an error without a code.
		if strings.HasPrefix(pgErr.Code, code) {
			return true
		}
	}
	return false
}

// heldUp reports whether other transactions, or a timeout of the server, stopped a
// batch. Parts of the batch may succeed.
func heldUp(err error) bool {
	return hasCode(err, pgerrcode.LockNotAvailable, pgerrcode.DeadlockDetected, pgerrcode.SerializationFailure,
		pgerrcode.QueryCanceled) // by statement_timeout
}

// refusesRow reports whether the server refused the data of some delivery. A batch
// without that delivery would succeed.
func refusesRow(err error) bool {
	return hasCode(err,
		"22", // data exception
		"23", // integrity constraint violation
		"54", // program limit exceeded: a row too large for an index
		"P0", // raised by a trigger
	)
}
