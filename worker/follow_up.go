package worker

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/riverqueue/river"
)

// followUp is a registered River worker.
type followUp struct {
	worker any
	queue  string
	add    func(*river.Workers) error
}

// AddFollowUp registers a River worker for jobs that job types enqueue
// themselves. Use it if an effect on another system must follow a committed
// decision:
//
//	func (d Decide) WorkTx(ctx context.Context, tx pgx.Tx, e *Event) error {
//		...
//		_, err := river.ClientFromContext[pgx.Tx](ctx).InsertTx(ctx, tx, NotifyArgs{OrderID: id}, nil)
//		return err
//	}
//
// The job exists if and only if the transaction commits, and it is worked at
// least once. It follows River's rules: attempts and timeout are those of
// River's worker and insert options, and the job has no run in lumin.runs.
// River keeps its arguments for days, so they should identify rows and contain
// no personal data. The queue is the one in the InsertOpts of the arguments, or
// else River's default queue. If a call of InsertTx names a queue, a registered
// job type must use that queue.
//
// Kind must work on the zero value of T. [Registry.Err] reports what is
// invalid.
func AddFollowUp[T river.JobArgs](r *Registry, w river.Worker[T]) {
	var kind, queue string
	problem := ""
	if err := isolate(func() error {
		var args T
		kind, queue = args.Kind(), queueOf(args)
		return nil
	}); err != nil {
		problem = fmt.Sprintf("Kind or InsertOpts fails for the zero value of its arguments (%v): use a struct, not a pointer to one", err)
	}
	switch {
	case problem != "":
	case isNil(w):
		problem = "the worker is nil: give a value"
	default:
		problem = cmp.Or(r.kindProblem(kind), queueProblem(queue), r.sharedQueueProblem(queue, false))
	}
	if problem != "" {
		r.errs = append(r.errs, fmt.Errorf("follow-up job %q (%T): %s", kind, w, problem))
		return
	}
	r.followUps[kind] = followUp{worker: w, queue: queue, add: func(workers *river.Workers) error {
		return river.AddWorkerSafely(workers, &isolated[T]{w})
	}}
}

// queueOf returns the queue for jobs with these arguments.
func queueOf(args river.JobArgs) string {
	var named string
	if with, ok := args.(river.JobArgsWithInsertOpts); ok {
		named = with.InsertOpts().Queue
	}
	return cmp.Or(named, river.QueueDefault)
}

// isolated keeps panics and goroutine exits of a River worker within its job.
type isolated[T river.JobArgs] struct{ river.Worker[T] }

// Work implements river.Worker.
func (w *isolated[T]) Work(ctx context.Context, job *river.Job[T]) error {
	runningJobOf(ctx).setTimeout(ctx, cmp.Or(w.Timeout(job), Defaults{}.Timeout()))
	return isolate(func() error { return w.Worker.Work(ctx, job) })
}

// NextRetry implements river.Worker. If the worker's method panics, River uses
// its own policy.
func (w *isolated[T]) NextRetry(job *river.Job[T]) (at time.Time) {
	_ = isolate(func() error {
		at = w.Worker.NextRetry(job)
		return nil
	})
	return at
}

// Timeout implements river.Worker. If the worker's method panics, River uses
// the default.
func (w *isolated[T]) Timeout(job *river.Job[T]) (timeout time.Duration) {
	_ = isolate(func() error {
		timeout = w.Worker.Timeout(job)
		return nil
	})
	return timeout
}
