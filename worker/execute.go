package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"lumin-ingest/internal/cleanpool"
	"lumin-ingest/internal/errtext"
	"lumin-ingest/internal/redact"
	"lumin-ingest/store"
)

// executor runs the jobs of one job type for River.
type executor struct {
	river.WorkerDefaults[store.JobArgs]
	jobType registered
	store   *store.Store
	logger  *slog.Logger
	keys    riverKeys
	conns   *jobConns
}

// jobConns are the connections of transactional job types. River has others, so that
// a job type that breaks all of these affects nothing else.
type jobConns struct {
	max  int
	pool *pgxpool.Pool // nil until the Runtime starts
}

// Timeout implements river.Worker.
func (x *executor) Timeout(*river.Job[store.JobArgs]) time.Duration { return x.jobType.timeout }

// NextRetry implements river.Worker. River calls it where a panic would end the
// program.
func (x *executor) NextRetry(job *river.Job[store.JobArgs]) time.Time {
	wait := Defaults{}.Backoff(job.Attempt)
	if err := isolate(func() error {
		wait = max(x.jobType.Backoff(job.Attempt), 0)
		return nil
	}); err != nil {
		x.logger.Error("Backoff failed: the default is used", "kind", job.Kind, "error", err.Error())
	}
	return time.Now().Add(wait)
}

const (
	// lockedRetry is when a job looks again at a run that somebody else works on.
	lockedRetry = time.Second

	// What must still be done after an attempt has used up its time gets this long.
	afterwards = 5 * time.Second
)

// Work implements river.Worker.
func (x *executor) Work(ctx context.Context, job *river.Job[store.JobArgs]) error {
	noteDeadline(ctx)
	attempt := store.Attempt{JobArgs: job.Args, JobID: job.ID, Number: job.Attempt}
	attempt.JobKind = job.Kind
	subjectOf(ctx).key = attempt.EventKey.String()
	err := contain(func() error {
		if x.jobType.transactional != nil {
			return x.workTx(ctx, attempt)
		}
		return x.work(ctx, attempt)
	})
	err = nameTimeout(ctx, x.jobType.timeout, err)
	if err != nil {
		switch outcomeOf(ctx, job.JobRow, err) {
		case outcomeRetried:
			x.note(ctx, attempt, err)
		case outcomeSnoozed:
			if saysWhy(err) {
				attempt.Number-- // it does not count
				x.note(ctx, attempt, err)
			}
		}
	}
	return err
}

// saysWhy reports whether a snooze comes with a reason.
func saysWhy(err error) bool {
	var snooze *river.JobSnoozeError
	return errors.As(err, &snooze) && err.Error() != snooze.Error()
}

// work calls a plain job type between two looks at its run.
func (x *executor) work(ctx context.Context, attempt store.Attempt) error {
	event, err := x.store.ReadRun(ctx, attempt)
	if err != nil {
		return notNow(err)
	}
	err = isolate(func() error { return x.jobType.plain.Work(x.context(ctx, attempt, event), event) })
	if err != nil {
		return err
	}
	// The effect is there, so this must not fail for want of time.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	return x.store.Settle(ctx, attempt)
}

// context is what the job type's code gets.
func (x *executor) context(ctx context.Context, attempt store.Attempt, event *store.Event) context.Context {
	subjectOf(ctx).event(event)
	return jobContext{ctx, x.keys.resumable, x.logger.With(
		slog.Int64("event_id", event.ID), slog.String("kind", attempt.JobKind), slog.Int("attempt", attempt.Number))}
}

// workTx calls a transactional job type in the transaction that settles its run.
func (x *executor) workTx(ctx context.Context, attempt store.Attempt) error {
	conn, tx, event, err := x.claim(ctx, attempt)
	if conn == nil {
		return err
	}
	defer conn.Release()
	if tx == nil {
		return err
	}
	defer func() {
		// It must reach the server although the attempt has timed out.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
		defer cancel()
		_ = tx.Rollback(ctx) // after a commit there is nothing to roll back
	}()
	if err != nil {
		cleanpool.Mark(conn.Conn())
		return notNow(err)
	}
	managed, returned := manage(tx), letGo(ctx, conn.Conn().PgConn().Conn())
	err = isolate(func() error {
		return x.jobType.transactional.WorkTx(x.context(ctx, attempt, event), managed, event)
	})
	returned()
	exposed, maybeNew := managed.watch.end()
	if exposed {
		// Code that kept the connection must not reach another attempt.
		defer conn.Conn().Close(context.WithoutCancel(ctx))
	}
	if err != nil {
		return err
	}
	if err := unfit(tx.Conn().PgConn()); err != nil {
		return err
	}
	if maybeNew {
		if err := x.stillClaimed(ctx, tx, attempt); err != nil {
			return err
		}
	}
	return x.commit(ctx, conn.Conn(), tx, attempt)
}

// claim takes a connection and claims the run of an attempt on it. If a connection
// has lost its prepared statements, claim closes it and takes another, because this
// is not the fault of the attempt.
func (x *executor) claim(ctx context.Context, attempt store.Attempt) (*pgxpool.Conn, pgx.Tx, *store.Event, error) {
	for range x.conns.max + 1 {
		conn, err := x.conns.pool.Acquire(ctx)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("get a connection: %w", err)
		}
		tx, event, err := x.store.BeginClaim(ctx, conn.Conn(), attempt)
		if err == nil || !cleanpool.LostStatements(err) {
			return conn, tx, event, err
		}
		_ = conn.Conn().Close(ctx)
		conn.Release()
	}
	return nil, nil, nil, errors.New("get a connection: none has its prepared statements")
}

// commit ends a successful attempt. If the server returns an error, the cleaning of
// the session may have failed after the commit. Then the run is settled.
func (x *executor) commit(ctx context.Context, conn *pgx.Conn, tx pgx.Tx, attempt store.Attempt) error {
	err := tx.Commit(ctx)
	if err == nil {
		cleanpool.Mark(conn)
		return nil
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		if _, runErr := x.store.ReadRun(ctx, attempt); errors.Is(runErr, store.ErrRunSettled) {
			return nil
		}
	}
	return fmt.Errorf("commit: %w", err)
}

// letGo closes the connection of an attempt whose code goes on although its time is
// over: its transaction must not hold the run, nor anything else, for as long as the
// code likes. The attempt fails then. The returned function says that the code has
// returned.
func letGo(ctx context.Context, conn net.Conn) (returned func()) {
	done := make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		select {
		case <-done:
		case <-time.After(afterwards):
			_ = conn.Close()
		}
	})
	return func() {
		unwatch()
		close(done)
	}
}

// stillClaimed makes sure that the mark of the run will be there after a commit,
// although WorkTx may have sent ROLLBACK and BEGIN: the mark of this transaction,
// or of one that is committed, turns away a second claim.
func (x *executor) stillClaimed(ctx context.Context, tx pgx.Tx, attempt store.Attempt) error {
	_, err := x.store.ClaimTx(ctx, tx, attempt)
	switch {
	case errors.Is(err, store.ErrRunSettled):
		return nil
	case err == nil, errors.Is(err, store.ErrRunLocked), errors.Is(err, store.ErrEventGone):
		return errEndedTx
	default:
		return err
	}
}

// notNow makes of a refused claim what is to become of the job.
func notNow(err error) error {
	switch {
	case errors.Is(err, store.ErrRunSettled):
		return errTurnedAway
	case errors.Is(err, store.ErrRunLocked):
		return river.JobSnooze(lockedRetry)
	case errors.Is(err, store.ErrEventGone):
		return river.JobCancel(err)
	default:
		return err
	}
}

// note keeps the error of an attempt where people look for it. It is no part of
// the promise, so it must not make the attempt fail in another way.
func (x *executor) note(ctx context.Context, attempt store.Attempt, cause error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := x.store.NoteAttempt(ctx, attempt, cause.Error()); err != nil {
		x.logger.Warn("error of an attempt not kept", "kind", attempt.JobKind, "job_id", attempt.JobID,
			"error", errtext.Plain(redact.Text(err.Error())))
	}
}
