package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"lumin-ingest/store"
)

// executor runs the jobs of one job type for River.
type executor struct {
	river.WorkerDefaults[store.JobArgs]
	jobType registered
	store   *store.Store
	logger  *slog.Logger
}

// Timeout implements river.Worker.
func (x *executor) Timeout(*river.Job[store.JobArgs]) time.Duration { return x.jobType.Timeout() }

// NextRetry implements river.Worker.
func (x *executor) NextRetry(job *river.Job[store.JobArgs]) time.Time {
	return time.Now().Add(x.jobType.Backoff(job.Attempt))
}

// lockedRetry is when a job looks again at a run that somebody else works on.
const lockedRetry = time.Second

// Work implements river.Worker.
func (x *executor) Work(ctx context.Context, job *river.Job[store.JobArgs]) error {
	attempt := store.Attempt{JobArgs: job.Args, JobID: job.ID, Number: job.Attempt}
	attempt.JobKind = job.Kind
	err := contain(func() error {
		if x.jobType.transactional != nil {
			return x.workTx(ctx, attempt)
		}
		return x.work(ctx, attempt)
	})
	switch {
	case errors.Is(err, store.ErrRunSettled):
		return errTurnedAway
	case errors.Is(err, store.ErrRunLocked):
		return river.JobSnooze(lockedRetry)
	case errors.Is(err, store.ErrEventGone):
		return river.JobCancel(err)
	case outcomeOf(job.JobRow, err) == outcomeRetried:
		x.note(ctx, attempt, err)
	}
	return err
}

// work calls a plain job type between two looks at its run.
func (x *executor) work(ctx context.Context, attempt store.Attempt) error {
	event, err := x.store.ReadRun(ctx, attempt)
	if err != nil {
		return err
	}
	if err := x.jobType.plain.Work(ctx, event); err != nil {
		return err
	}
	return x.store.Settle(ctx, attempt)
}

// workTx calls a transactional job type in the transaction that settles its run.
func (x *executor) workTx(ctx context.Context, attempt store.Attempt) error {
	tx, err := x.store.Pool().Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	// The rollback must reach the server although the attempt has timed out.
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // after a commit there is nothing to roll back

	event, err := x.store.ClaimTx(ctx, tx, attempt)
	if err != nil {
		return err
	}
	if err := x.jobType.transactional.WorkTx(ctx, managedTx{tx}, event); err != nil {
		return err
	}
	switch status := tx.Conn().PgConn().TxStatus(); status {
	case 'T':
	case 'E':
		return errors.New("WorkTx returned nil after a statement failed, so nothing of it can be committed: return the statement's error, or use a savepoint (tx.Begin)")
	default:
		return errors.New("WorkTx ended its transaction by itself: leave COMMIT and ROLLBACK to the worker")
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// note keeps the error of an attempt where people look for it. It is no part of
// the promise, so it must not make the attempt fail in another way.
func (x *executor) note(ctx context.Context, attempt store.Attempt, cause error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := x.store.NoteAttempt(ctx, attempt, cause.Error()); err != nil {
		x.logger.Warn("error of an attempt not kept", "kind", attempt.JobKind, "job_id", attempt.JobID, "error", err)
	}
}

// ErrManagedTx is what Commit and Rollback of the transaction answer that a job
// type is given.
var ErrManagedTx = errors.New("the worker ends this transaction: return nil to commit it, an error to roll it back")

// managedTx is a transaction that its user cannot end.
type managedTx struct{ pgx.Tx }

func (managedTx) Commit(context.Context) error   { return ErrManagedTx }
func (managedTx) Rollback(context.Context) error { return ErrManagedTx }
