package worker

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/riverqueue/river"

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

// Timeout implements river.Worker.
func (x *executor) Timeout(*river.Job[store.JobArgs]) time.Duration { return x.jobType.timeout }

// NextRetry implements river.Worker. River calls it at a place where a panic
// would end the program.
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

// Work implements river.Worker. Its errors are cleaned and classified by
// [attemptMiddleware].
func (x *executor) Work(ctx context.Context, job *river.Job[store.JobArgs]) error {
	attempt := store.Attempt{JobArgs: job.Args, JobID: job.ID, Number: job.Attempt}
	attempt.JobKind = job.Kind
	running := runningJobOf(ctx)
	running.setTimeout(ctx, x.jobType.timeout)
	running.attempt = &attempt
	if x.jobType.transactional != nil {
		return x.workTx(ctx, attempt)
	}
	return x.workPlain(ctx, attempt)
}

// workTx calls a transactional job type in the transaction that settles its
// run.
func (x *executor) workTx(ctx context.Context, attempt store.Attempt) error {
	claim, err := x.claim(ctx, attempt)
	if err != nil {
		return err
	}
	defer claim.release(ctx)
	managed := manage(claim.tx)
	returned := closeWhenOverdue(ctx, claim.conn.Conn().PgConn().Conn())
	err = isolate(func() error {
		return x.jobType.transactional.WorkTx(x.jobContext(ctx, attempt, claim.event), managed, claim.event)
	})
	returned()
	exposed, maybeReplaced := managed.state.end()
	if exposed {
		// Code that kept the connection must not reach another attempt.
		defer claim.conn.Conn().Close(context.WithoutCancel(ctx))
	}
	if err != nil {
		return err
	}
	return x.commit(ctx, claim, attempt, maybeReplaced)
}

// workPlain calls a plain job type and settles its run.
func (x *executor) workPlain(ctx context.Context, attempt store.Attempt) error {
	loaded, err := x.store.ReadRun(ctx, attempt)
	if err != nil {
		return claimError(err)
	}
	event := (*Event)(loaded)
	err = isolate(func() error { return x.jobType.plain.Work(x.jobContext(ctx, attempt, event), event) })
	if err != nil {
		return err
	}
	// The effect exists, so the run must be settled even after the timeout.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeoutGrace)
	defer cancel()
	return x.store.Settle(ctx, attempt)
}

// jobContext returns the context for the code of the job type.
func (x *executor) jobContext(ctx context.Context, attempt store.Attempt, event *Event) context.Context {
	runningJobOf(ctx).event = event
	return jobContext{ctx, x.keys.resumable, x.logger.With(
		slog.Int64("event_id", event.ID), slog.String("kind", attempt.JobKind), slog.Int("attempt", attempt.Number))}
}

// closeWhenOverdue closes the connection of an attempt whose code keeps running
// after its timeout. Otherwise its transaction would hold the run, and all that
// it has locked, until the code returns. The attempt then fails. Call returned
// when the code has returned.
func closeWhenOverdue(ctx context.Context, conn net.Conn) (returned func()) {
	done := make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		select {
		case <-done:
		case <-time.After(timeoutGrace):
			_ = conn.Close()
		}
	})
	return func() {
		unwatch()
		close(done)
	}
}
