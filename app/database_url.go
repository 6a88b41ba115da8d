package app

import (
	"errors"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	"lumin-ingest/internal/pgopen"
)

// checkURL refuses a value that is not a database URL, and options that would stop
// the program from working. The error shows no part of the value, which may hold
// a password.
func checkURL(setting, url string) error {
	return aboutURL(setting, pgopen.Check(url, pgopen.Options{}))
}

// writableURL is the URL of a database that will be written to.
func (s databaseSettings) writableURL() (string, error) {
	url, err := s.url()
	if err != nil {
		return "", err
	}
	return url, aboutURL("DATABASE_URL", pgopen.Check(url, pgopen.Options{Writes: true}))
}

// aboutURL adds the name of the setting to an error about a database URL.
func aboutURL(setting string, err error) error {
	var refused *pgopen.Refused
	if errors.As(err, &refused) {
		return usage(setting+" "+refused.What, "%s", refused.Remedy)
	}
	return err
}

// refusedOption reports whether the server has refused a connection because of an
// option in the URL: every option that neither pgx nor this program knows is sent
// to the server as a setting of the session.
func refusedOption(err error) bool {
	var (
		connecting *pgconn.ConnectError
		refused    *pgconn.PgError
	)
	if !errors.As(err, &connecting) || !errors.As(err, &refused) {
		return false
	}
	switch refused.Code {
	case pgerrcode.UndefinedObject, pgerrcode.InvalidParameterValue, pgerrcode.CantChangeRuntimeParam:
		return true
	}
	return false
}

// optionError explains an error for which refusedOption is true.
func optionError(err error) error {
	var refused *pgconn.PgError
	errors.As(err, &refused)
	return usage("the server refuses an option in DATABASE_URL: "+refused.Message, "correct it, or leave it out")
}
