package workertest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// putOff is how long a job waits at most before the kit has it tried again, which
// it does at once: long enough to let nothing but the kit do that.
const putOff = time.Hour

// errCrash is the error of an attempt that dies behind the job type's code.
var errCrash = errors.New("workertest: the program crashed here, after the job type's code had returned nil")

// observer is a job type that remembers how it was called. It has the settings of
// the one that it observes, but waits for the kit between attempts.
type observer struct {
	worker.JobType
	crashes int // that are to come

	mu    sync.Mutex
	calls []call
}

// call is one call of a job type's code.
type call struct {
	event   *store.Event
	key     string
	snoozed *time.Duration // nil unless it asked for that
	crashed bool
}

// MaxAttempts has room for the crashes: they count, as they do in production.
func (o *observer) MaxAttempts() int {
	const most = 32767 // see worker.Registry
	return min(o.JobType.MaxAttempts()+o.crashes, max(o.JobType.MaxAttempts(), most))
}

// Backoff implements worker.JobType.
func (o *observer) Backoff(attempt int) time.Duration {
	_ = o.JobType.Backoff(attempt) // it may panic
	return putOff
}

// observe calls the code of the job type.
func (o *observer) observe(e *store.Event, work func() error) error {
	o.mu.Lock()
	n := len(o.calls)
	o.calls = append(o.calls, call{event: e, key: e.IdempotencyKey()})
	o.mu.Unlock()
	err := work()
	o.mu.Lock()
	defer o.mu.Unlock()
	var snooze *rivertype.JobSnoozeError
	switch {
	case errors.As(err, &snooze):
		o.calls[n].snoozed = &snooze.Duration
		return errors.Join(river.JobSnooze(putOff), err) // the first one counts
	case err == nil && o.crashes > 0:
		o.crashes--
		o.calls[n].crashed = true
		return errCrash
	}
	return err
}

// seen are the calls so far.
func (o *observer) seen() []call {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]call(nil), o.calls...)
}

// crashed reports whether an attempt has died.
func (o *observer) crashed() bool {
	for _, c := range o.seen() {
		if c.crashed {
			return true
		}
	}
	return false
}

// plain and transactional are the two ways to work.
type plain struct {
	*observer
	inner worker.Plain
}

// Work implements worker.Plain.
func (p plain) Work(ctx context.Context, e *store.Event) error {
	return p.observe(e, func() error { return p.inner.Work(ctx, e) })
}

type transactional struct {
	*observer
	inner worker.Transactional
}

// WorkTx implements worker.Transactional.
func (x transactional) WorkTx(ctx context.Context, tx pgx.Tx, e *store.Event) error {
	return x.observe(e, func() error { return x.inner.WorkTx(ctx, tx, e) })
}

// register adds a job type in the way that it works.
func register(t testing.TB, registry *worker.Registry, jobType worker.JobType) {
	t.Helper()
	p, isPlain := jobType.(worker.Plain)
	x, isTransactional := jobType.(worker.Transactional)
	switch {
	case isPlain && isTransactional:
		t.Fatalf("%T has both Work and WorkTx: a job type has one of them", jobType)
	case isPlain:
		registry.Add(p)
	case isTransactional:
		registry.AddTx(x)
	default:
		t.Fatalf("%T has neither Work nor WorkTx, or not on this type: give a pointer if its methods have one", jobType)
	}
}

// observed is the same job type under observation.
func (o *observer) observed() worker.JobType {
	if x, ok := o.JobType.(worker.Transactional); ok {
		return transactional{o, x}
	}
	inner, _ := o.JobType.(worker.Plain) // register has seen to it
	return plain{o, inner}
}

func isTransactional(jobType worker.JobType) bool {
	_, ok := jobType.(worker.Transactional)
	return ok
}
