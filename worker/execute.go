package worker

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"

	"lumin-ingest/internal/tracing"
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
	batches *coalescer // nil unless the job type works batches

	stopping *atomic.Bool // set when the Runtime begins to stop
	tally    *tally
	tracer   *tracing.Tracer
}

// Timeout implements river.Worker.
func (x *executor) Timeout(*river.Job[store.JobArgs]) time.Duration { return x.jobType.riverTimeout() }

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
	switch {
	case x.batches != nil:
		return x.workBatch(ctx, attempt)
	case x.jobType.ordered:
		return x.workOrdered(ctx, attempt)
	case x.jobType.transactional != nil:
		return x.workTx(ctx, attempt, func() {})
	default:
		return x.workPlain(ctx, attempt)
	}
}

// workTx calls a transactional job type in the transaction that settles its
// run. It calls overdue if the code keeps running after its timeout.
func (x *executor) workTx(ctx context.Context, attempt store.Attempt, overdue func()) error {
	claim, err := x.claim(ctx, attempt)
	if err != nil {
		return err
	}
	return x.workClaimed(ctx, claim, attempt, overdue)
}

// workClaimed is workTx for a run that is claimed.
func (x *executor) workClaimed(ctx context.Context, claim *claim, attempt store.Attempt, overdue func()) error {
	defer claim.release(ctx)
	managed := manage(claim.tx)
	effect, span := x.tracer.Start(ctx, "effect")
	jobContext := x.jobContext(effect, attempt, claim.event)
	running := claim.call(ctx, func() error {
		return x.jobType.transactional.WorkTx(jobContext, managed, claim.event)
	})
	if claim.overdue {
		overdue()
	}
	<-running.done
	endWith(span, running.err)
	exposed, maybeReplaced := managed.state.end()
	if exposed {
		// Code that kept the connection must not reach another attempt.
		defer claim.conn.Close(context.WithoutCancel(ctx))
	}
	if running.err != nil {
		return running.err
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
	effect, span := x.tracer.Start(ctx, "effect")
	err = isolate(func() error { return x.jobType.plain.Work(x.jobContext(effect, attempt, event), event) })
	endWith(span, err)
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
	if attempt.JobID != 0 {
		runningJobOf(ctx).event = event
	}
	logger := x.logger.With(slog.Int64("event_id", event.ID), slog.String("kind", attempt.JobKind), slog.Int("attempt", attempt.Number))
	return jobContext{ctx, x.hidden(), x.tracer.Logger(ctx, logger)}
}

// hidden lists the keys of River's context that the job type does not see.
func (x *executor) hidden() []any {
	if x.jobType.batch != nil || x.jobType.ordered {
		return []any{x.keys.resumable, x.keys.metadata} // the events may have no job of their own
	}
	return []any{x.keys.resumable}
}
