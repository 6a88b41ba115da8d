package advice

import (
	"errors"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// RefusedOption returns the error for a connection that the server refused
// because of an option in the database URL, or because the server is too old for
// this program. For any other err it returns nil. An option that neither pgx nor
// this program knows goes to the server as a setting of the session.
func RefusedOption(err error) error {
	var (
		connecting *pgconn.ConnectError
		refused    *pgconn.PgError
	)
	if !errors.As(err, &connecting) || !errors.As(err, &refused) {
		return nil
	}
	if fromOldServer(err) {
		return Add(errors.New("the server is older than PostgreSQL 14"), OldServer)
	}
	switch refused.Code {
	case pgerrcode.UndefinedObject, pgerrcode.InvalidParameterValue, pgerrcode.CantChangeRuntimeParam:
		return Usage("the server refuses an option in DATABASE_URL: "+refused.Message, "correct it, or remove it")
	}
	return nil
}

// fromOldServer reports whether a server refused a setting that each connection
// of this program has, and that came with PostgreSQL 14.
func fromOldServer(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == pgerrcode.UndefinedObject && strings.Contains(refused.Message, `"idle_session_timeout"`)
}
