package app

import (
	"errors"

	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/pgopen"
)

// checkURL refuses a value that is not a database URL, and options that would
// stop the program from working. The error shows no part of the value, which
// may hold a password.
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
		return advice.Usage(setting+" "+refused.What, "%s", refused.Remedy)
	}
	return err
}
