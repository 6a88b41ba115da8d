package worker

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/riverqueue/river"
)

// followUp is a River worker of the user's own.
type followUp struct {
	worker any
	queue  string
	add    func(*river.Workers) error
}

// AddFollowUp registers a River worker for jobs that job types put into the queue
// themselves, so that an effect elsewhere follows a decision that is committed:
//
//	func (d Decide) WorkTx(ctx context.Context, tx pgx.Tx, e *store.Event) error {
//		...
//		_, err := river.ClientFromContext[pgx.Tx](ctx).InsertTx(ctx, tx, NotifyArgs{OrderID: id}, nil)
//		return err
//	}
//
// The job is there if and only if the transaction is committed, and is worked at
// least once, by River's rules: attempts and timeout are those of River's worker and
// insert options, and the job has no run of its own in lumin.runs. Its arguments are
// kept by River for days, so let them name rows and hold no personal data. Jobs go to
// the queue that the arguments' InsertOpts name, or else to River's default queue;
// one that an insert names itself must be that of some registered job type.
//
// The zero value of T must answer Kind. What is wrong is told by [Registry.Err].
func AddFollowUp[T river.JobArgs](r *Registry, w river.Worker[T]) {
	var kind, queue string
	why := ""
	if err := isolate(func() error {
		var args T
		kind, queue = args.Kind(), queueOf(args)
		return nil
	}); err != nil {
		why = fmt.Sprintf("the zero value of its arguments does not tell kind and queue (%v): let them be a struct, and not a pointer to one", err)
	}
	switch {
	case why != "":
	case isNil(w):
		why = "the worker is nil: give a value"
	default:
		why = cmp.Or(r.refuseKind(kind), refuseQueue(queue))
	}
	if why != "" {
		r.errs = append(r.errs, fmt.Errorf("follow-up job %q (%T): %s", kind, w, why))
		return
	}
	r.followUps[kind] = followUp{worker: w, queue: queue, add: func(workers *river.Workers) error {
		return river.AddWorkerSafely(workers, &isolated[T]{w})
	}}
}

// queueOf is the queue that jobs with these arguments go to.
func queueOf(args river.JobArgs) string {
	var named string
	if with, ok := args.(river.JobArgsWithInsertOpts); ok {
		named = with.InsertOpts().Queue
	}
	return cmp.Or(named, river.QueueDefault)
}

// isolated is a River worker whose panics, and ends of goroutines, stay with its job.
type isolated[T river.JobArgs] struct{ river.Worker[T] }

// Work implements river.Worker.
func (w *isolated[T]) Work(ctx context.Context, job *river.Job[T]) error {
	noteDeadline(ctx)
	err := isolate(func() error { return w.Worker.Work(ctx, job) })
	return nameTimeout(ctx, cmp.Or(w.Timeout(job), Defaults{}.Timeout()), err)
}

// NextRetry implements river.Worker: by River's own policy if the worker's panics.
func (w *isolated[T]) NextRetry(job *river.Job[T]) (at time.Time) {
	_ = isolate(func() error {
		at = w.Worker.NextRetry(job)
		return nil
	})
	return at
}

// Timeout implements river.Worker: the default if the worker's panics.
func (w *isolated[T]) Timeout(job *river.Job[T]) (timeout time.Duration) {
	_ = isolate(func() error {
		timeout = w.Worker.Timeout(job)
		return nil
	})
	return timeout
}
