package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river/rivertype"

	"lumin-ingest/store"
	"lumin-ingest/store/replay"
)

// Trial is how a run would end if it were replayed now.
type Trial struct {
	Outcome TrialOutcome

	// Err is the reason for any other outcome than WouldSucceed. It is cleaned
	// like the errors that are stored with runs.
	Err error

	// Changes are the rows that the code has changed, by table, if the outcome is
	// WouldSucceed. They include the changes of triggers, and of savepoints that
	// the code rolled back. They are nil if the server does not count rows
	// (track_counts is off).
	Changes []TableChanges
}

// TableChanges counts changed rows of one table.
type TableChanges struct {
	Table                      string // with its schema
	Inserted, Updated, Deleted int64
}

// TrialOutcome is the outcome of a [Trial].
type TrialOutcome string

// The outcomes of a trial.
const (
	WouldSucceed  TrialOutcome = "would_succeed"
	WouldFail     TrialOutcome = "would_fail"      // fail or cancel its run
	WouldSnooze   TrialOutcome = "would_snooze"    // the code returned river.JobSnooze
	Busy          TrialOutcome = "busy"            // another transaction holds the run, or a row that the code needs
	EventGone     TrialOutcome = "event_gone"      // the event or its body was removed
	CannotBeTried TrialOutcome = "cannot_be_tried" // the code ended its transaction
)

// tryingKey is the key of a value in the context of a trial.
type tryingKey struct{}

// Trying reports whether a job type is called by replay --try, which rolls back
// its transaction. ctx must be the context of the attempt, or derived from it. A
// job type that acts outside its transaction, for example by sending mail, should
// not do so if Trying returns true.
func Trying(ctx context.Context) bool { return ctx.Value(tryingKey{}) != nil }

// Try works a run in a transaction that is rolled back. The code cannot tell this
// from an attempt of a replay, except by [Trying]. Constraints and triggers that are
// deferred to the commit are checked. The lane of an ordered job type is not: an
// event is tried even if earlier ones are unfinished.
//
// The error is not nil if the database cannot be reached, or if ctx has ended. The
// kind of the run must be one that [Trials.Transactional] accepts.
func (t *Trials) Try(ctx context.Context, run replay.Run) (Trial, error) {
	r := t.runtime
	x := &executor{jobType: r.registry.types[run.Kind], store: r.store, logger: r.logger, keys: r.keys}
	c, err := t.begin(ctx, x)
	if err != nil {
		return Trial{}, err
	}
	defer endTrial(ctx, c)
	working, cancel := context.WithTimeout(ctx, x.jobType.timeout)
	defer cancel()
	job := &runningJob{mu: &sync.Mutex{}}
	job.setTimeout(working, x.jobType.timeout)
	trial, err := x.try(t.withValues(working), c, run)
	switch {
	case ctx.Err() != nil:
		return Trial{}, ctx.Err()
	case err == nil:
		return trial, nil
	}
	var f *failure
	if errors.As(err, &f) && f.stack != nil {
		r.logger.Error("the code panicked", "kind", run.Kind, "event_id", run.EventID, "error", f.text, "stack", string(f.stack))
	}
	outcome := trialOutcome(c.conn, err)
	if outcome == CannotBeTried {
		err = errEndedTx
	}
	return Trial{Outcome: outcome, Err: job.nameTimeout(clean(err))}, nil
}

// withValues adds to a context what River adds to that of a job.
func (t *Trials) withValues(ctx context.Context) context.Context {
	ctx = context.WithValue(ctx, tryingKey{}, true)
	ctx = context.WithValue(ctx, t.runtime.keys.client, t.runtime.client)
	return context.WithValue(ctx, t.runtime.keys.metadata, map[string]any{})
}

// trialOutcome classifies the error of a trial.
func trialOutcome(conn *pgx.Conn, err error) TrialOutcome {
	var snooze *rivertype.JobSnoozeError
	switch code := sqlState(err); {
	case errors.Is(err, store.ErrRunLocked), errors.Is(err, store.ErrRunSettled):
		return Busy
	case errors.Is(err, store.ErrEventGone):
		return EventGone
	case errors.Is(err, errKeepsRunning): // the code may still use the connection
		return WouldFail
	case errors.Is(err, errEndedTx), hasEscaped(conn):
		return CannotBeTried
	case code == pgerrcode.LockNotAvailable, code == pgerrcode.DeadlockDetected:
		return Busy
	case errors.As(err, &snooze):
		return WouldSnooze
	}
	return WouldFail
}

// try claims the run, calls the code, and checks what a commit would check.
func (x *executor) try(ctx context.Context, c *claim, run replay.Run) (Trial, error) {
	attempt, err := run.TakeTx(ctx, c.tx)
	if err != nil {
		return Trial{}, err
	}
	event, err := x.store.ClaimTx(ctx, c.tx, attempt)
	if err != nil {
		return Trial{}, err
	}
	before, err := readChanges(ctx, c.tx)
	if err != nil {
		return Trial{}, err
	}
	if err := x.callTrial(ctx, c, attempt, (*Event)(event)); err != nil {
		return Trial{}, err
	}
	if err := checkCommittable(c.conn.PgConn()); err != nil {
		return Trial{}, err
	}
	if _, err := c.tx.Exec(ctx, `SET CONSTRAINTS ALL IMMEDIATE`); err != nil {
		return Trial{}, fmt.Errorf("commit: %w", err)
	}
	after, err := readChanges(ctx, c.tx)
	if err != nil {
		return Trial{}, err
	}
	if after.transaction != before.transaction {
		return Trial{}, errEndedTx
	}
	return Trial{Outcome: WouldSucceed, Changes: after.since(before)}, nil
}

// callTrial calls the code. Its error is the one that the code returned, or that
// of a panic.
func (x *executor) callTrial(ctx context.Context, c *claim, attempt store.Attempt, event *Event) error {
	managed := manage(c.tx)
	jobContext := x.jobContext(ctx, attempt, event)
	var returned error
	running := c.call(ctx, func() error {
		returned = x.jobType.transactional.WorkTx(jobContext, managed, event)
		return returned
	})
	managed.state.end()
	switch {
	case c.overdue:
		return errKeepsRunning
	case returned == nil:
		return running.err
	}
	return &trialError{error: running.err, code: sqlState(returned)}
}

// trialError is the error of a job type's code.
type trialError struct {
	error        // cleaned
	code  string // SQLSTATE of the error that the code returned; "" if the server did not return it
}

func (e *trialError) Unwrap() error { return e.error }

// sqlState returns the SQLSTATE of an error, or "" if the server did not return
// it.
func sqlState(err error) (code string) {
	_ = contain(func() error { // methods of a foreign error may panic
		var (
			trial   *trialError
			refused *pgconn.PgError
		)
		if errors.As(err, &trial) {
			code = trial.code
		} else if errors.As(err, &refused) {
			code = refused.Code
		}
		return nil
	})
	return code
}
