package store

import (
	"errors"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// errInDoubt marks an error of COMMIT. The rows may have been committed.
var errInDoubt = errors.New("the transaction may have been committed")

// hasCode reports whether the server answered with one of these SQLSTATEs and
// rolled back.
func hasCode(err error, codes ...string) bool {
	var pgErr *pgconn.PgError
	if errors.Is(err, errInDoubt) || !errors.As(err, &pgErr) {
		return false
	}
	for _, code := range codes {
		// A code of two characters is a class. A pooler may send an error
		// without a code.
		if strings.HasPrefix(pgErr.Code, code) {
			return true
		}
	}
	return false
}

// isBlocking reports whether another transaction, or a timeout of the server,
// stopped a batch. Parts of the batch may succeed.
func isBlocking(err error) bool {
	return hasCode(err, pgerrcode.LockNotAvailable, pgerrcode.DeadlockDetected, pgerrcode.SerializationFailure,
		pgerrcode.QueryCanceled) // by statement_timeout
}

// isRowError reports whether the server refused the data of one delivery. The
// batch would succeed without that delivery.
func isRowError(err error) bool {
	return hasCode(err,
		"22", // data exception
		"23", // integrity constraint violation
		"54", // program limit exceeded: a row too large for an index
		"P0", // raised by a trigger
	)
}
