package workertest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

// retryDelay is the delay between attempts in the queue. The session makes
// waiting jobs due immediately. The delay is long enough that River never does
// so first.
const retryDelay = time.Hour

// errCrash is the error of an attempt that crashes after the job type's code.
var errCrash = errors.New("workertest: simulated crash after the job type's code returned nil")

// observer is a job type that records its calls. It has the settings of the job
// type that it observes, except that jobs wait for the session between
// attempts.
type observer struct {
	worker.JobType
	crashes int                     // crashes that remain to be simulated
	poison  map[lumin.EventKey]bool // events whose calls fail

	mu    sync.Mutex
	calls []call
}

// call is one call of a job type's code.
type call struct {
	event   *worker.Event
	key     string
	snoozed *time.Duration // nil if it did not snooze
	crashed bool
}

// MaxAttempts adds the crashes, which count as attempts, as in production.
func (o *observer) MaxAttempts() int {
	const most = 32767 // see worker.Registry
	return min(o.JobType.MaxAttempts()+o.crashes, max(o.JobType.MaxAttempts(), most))
}

// Backoff implements worker.JobType.
func (o *observer) Backoff(attempt int) time.Duration {
	_ = o.JobType.Backoff(attempt) // a test must show that it panics
	return retryDelay
}

// observe calls the job type's code with one or more events and records a call
// for each event.
func (o *observer) observe(work func() error, events ...*worker.Event) error {
	o.mu.Lock()
	n := len(o.calls)
	for _, e := range events {
		o.calls = append(o.calls, call{event: e, key: e.IdempotencyKey()})
	}
	o.mu.Unlock()
	err := work()
	o.mu.Lock()
	defer o.mu.Unlock()
	var snooze *rivertype.JobSnoozeError
	switch {
	case errors.As(err, &snooze):
		o.calls[n].snoozed = &snooze.Duration
		return errors.Join(river.JobSnooze(retryDelay), err) // the first snooze counts
	case err == nil && slices.ContainsFunc(events, func(e *worker.Event) bool { return o.poison[e.Key] }):
		return worker.JobFail(errPoison)
	case err == nil && o.crashes > 0:
		o.crashes--
		o.calls[n].crashed = true
		return errCrash
	}
	return err
}

// recordedCalls returns the calls so far.
func (o *observer) recordedCalls() []call {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]call(nil), o.calls...)
}

// crashed reports whether an attempt has crashed.
func (o *observer) crashed() bool {
	for _, c := range o.recordedCalls() {
		if c.crashed {
			return true
		}
	}
	return false
}

// plain and transactional are the two kinds of observed job types.
type plain struct {
	*observer
	inner worker.Plain
}

// Work implements worker.Plain.
func (p plain) Work(ctx context.Context, e *worker.Event) error {
	return p.observe(func() error { return p.inner.Work(ctx, e) }, e)
}

type transactional struct {
	*observer
	inner worker.Transactional
}

// WorkTx implements worker.Transactional.
func (x transactional) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	return x.observe(func() error { return x.inner.WorkTx(ctx, tx, e) }, e)
}

// register adds a job type with Add, AddTx or AddBatch, according to its method.
func register(t testing.TB, registry *worker.Registry, jobType worker.JobType) {
	t.Helper()
	p, isPlain := jobType.(worker.Plain)
	x, isTx := jobType.(worker.Transactional)
	b, isBatch := jobType.(worker.Batch)
	switch {
	case isPlain && (isTx || isBatch), isTx && isBatch:
		t.Fatalf("%T has more than one of Work, WorkTx and WorkBatch: a job type must have exactly one", jobType)
	case isPlain:
		registry.Add(p)
	case isTx:
		registry.AddTx(x)
	case isBatch:
		registry.AddBatch(b)
	default:
		t.Fatalf("%T has neither Work, WorkTx nor WorkBatch: add one, or pass a pointer if the methods have pointer receivers", jobType)
	}
}

// observed returns the observed job type.
func (o *observer) observed() worker.JobType {
	switch inner := o.JobType.(type) {
	case worker.Transactional:
		return transactional{o, inner}
	case worker.Batch:
		return &batch{observer: o, inner: inner}
	}
	inner, _ := o.JobType.(worker.Plain) // register has checked it
	return plain{o, inner}
}

func isTransactional(jobType worker.JobType) bool {
	_, isTx := jobType.(worker.Transactional)
	_, isBatch := jobType.(worker.Batch)
	return isTx || isBatch
}
