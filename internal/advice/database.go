package advice

import (
	"errors"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// RefusedOption returns the error for a connection that the server refused
// because of an option in the database URL. For any other err it returns nil.
// An option that neither pgx nor this program knows goes to the server as a
// setting of the session.
func RefusedOption(err error) error {
	var (
		connecting *pgconn.ConnectError
		refused    *pgconn.PgError
	)
	if !errors.As(err, &connecting) || !errors.As(err, &refused) {
		return nil
	}
	switch refused.Code {
	case pgerrcode.UndefinedObject, pgerrcode.InvalidParameterValue, pgerrcode.CantChangeRuntimeParam:
		return Usage("the server refuses an option in DATABASE_URL: "+refused.Message, "correct it, or remove it")
	}
	return nil
}
