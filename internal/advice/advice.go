// Package advice gives an error a second line: what the user can do about it.
//
//	if url == "" {
//		return advice.Usage("no database is given", "set DATABASE_URL")
//	}
//	if err := connect(url); err != nil {
//		return advice.Add(err, "check that %s runs", host)
//	}
//
// Commands print both lines, and the service logs them. [Of] returns the two
// lines of any error. It also knows the errors of a database connection and of a
// timeout in the database, so the code that connects needs no advice of its own.
//
// An error and its advice never show a secret: neither contains any part of a
// database URL.
package advice

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	"lumin-ingest/internal/errtext"
)

// ErrUsage is in the chain of each error that [Usage] returns. A command that
// fails with it exits with 2.
var ErrUsage = errors.New("usage")

// Unreachable is the advice for a database server that cannot be reached.
const Unreachable = "check DATABASE_URL and whether the server runs"

// Advice for a statement that the server has cancelled after a timeout of its
// session.
const (
	locked  = "try again later: another session holds a lock; \"doctor\" and pg_locks show sessions that hold locks for a long time"
	tooLong = "try again when the server is less busy, or select fewer rows, for example a shorter time span"
)

// OldServer is the advice for a server that is older than PostgreSQL 14.
const OldServer = "upgrade to PostgreSQL 14 or newer"

// FewConnections is the advice when programs may take more connections than the
// server gives.
const FewConnections = "set WORKERS or QUEUES lower, run fewer programs, or raise max_connections of the server; a limit of the role or the database counts too"

// MissingRight is the advice for a statement that the role may not execute.
const MissingRight = "DATABASE_URL needs a role with this right: lumin_read for commands that only read, lumin_admin for bodies and for changes; \"migrate roles\" creates both; tables of your job types need a GRANT of their own"

// advised is an error with its advice.
type advised struct {
	error
	advice string
}

func (e *advised) Unwrap() error { return e.error }

// Add returns err with the advice that the format makes.
func Add(err error, format string, args ...any) error {
	return &advised{error: err, advice: fmt.Sprintf(format, args...)}
}

// Usage returns an error for an invalid call or setting. what describes the
// problem, and the format makes the advice.
func Usage(what, format string, args ...any) error {
	return Add(&usageError{what}, format, args...)
}

type usageError struct{ what string }

func (e *usageError) Error() string        { return e.what }
func (e *usageError) Is(target error) bool { return target == ErrUsage }

// Of returns the problem of an error, and its advice: "" if it has none. If
// several errors of the chain have advice, the outermost counts.
func Of(err error) (problem, advice string) {
	problem = errtext.Plain(err.Error())
	var unreachable *pgconn.ConnectError
	switch {
	case errors.As(err, &unreachable):
		// pgx writes a line for each address of the host.
		problem, advice = strings.Join(strings.Fields(problem), " "), Unreachable
		if hasCode(err, pgerrcode.TooManyConnections) {
			advice = FewConnections
		}
	case LacksRight(err):
		advice = MissingRight
	}
	if fromOldServer(err) {
		advice = OldServer
	}
	var canceled *pgconn.PgError
	if advice == "" && errors.As(err, &canceled) {
		switch canceled.Code {
		case pgerrcode.LockNotAvailable:
			advice = locked
		case pgerrcode.QueryCanceled:
			advice = tooLong
		}
	}
	return problem, cmp.Or(Given(err), advice)
}

// Given returns the advice that [Add] or [Usage] gave an error; "" if they gave none.
func Given(err error) string {
	var a *advised
	if errors.As(err, &a) {
		return a.advice
	}
	return ""
}

// LacksRight reports whether the server refused a statement because the role
// lacks a right.
func LacksRight(err error) bool { return hasCode(err, pgerrcode.InsufficientPrivilege) }

func hasCode(err error, code string) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == code
}
