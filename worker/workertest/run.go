package workertest

import (
	"testing"
	"time"

	"github.com/riverqueue/river"

	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// Result is what became of a run.
type Result struct {
	// State is that of the run, as lumin.runs has it: succeeded, failed or cancelled;
	// or pending after MaxSnoozes.
	State string

	Attempts int      // those that count
	Errors   []string // of the attempts that failed, as they are stored: without addresses and URL queries

	Calls   int             // of the job type's code
	Snoozes []time.Duration // that it asked for

	// Event is what the job type was given last; nil if its code was never called.
	Event *store.Event

	// FollowUps are the jobs that it put into the queue, in this order.
	FollowUps []FollowUp
}

// FollowUp is a job that a job type put into the queue.
type FollowUp struct {
	Kind     string
	Args     string // JSON, as River keeps them for days
	State    string // River's: completed, discarded, cancelled; or scheduled after MaxSnoozes
	Attempts int    // those that count
	Snoozes  int
	Errors   []string
}

// MaxSnoozes is how often a job may put itself off. The waiting itself is left out.
const MaxSnoozes = 10

// Option changes what [Database.Run] and [Twice] do.
type Option func(*options)

type options struct {
	crashes   int
	followUps []func(*worker.Registry)
}

// Crash makes the next attempts that would have succeeded, as many as n, die between
// the effect and the note that it is there: the job type's code has returned nil,
// and the transaction is rolled back, or the run of a plain job type not settled.
// Each counts as an attempt; MaxAttempts grows by as many.
func Crash(n int) Option {
	return func(o *options) { o.crashes = n }
}

// WithFollowUp registers a River worker, as [worker.AddFollowUp] does. The jobs that
// the job type puts into the queue for it are worked too.
func WithFollowUp[T river.JobArgs](w river.Worker[T]) Option {
	return func(o *options) {
		o.followUps = append(o.followUps, func(r *worker.Registry) { worker.AddFollowUp(r, w) })
	}
}

// Run records an event as the ingest side does, has the job type work it, and
// returns once its run is settled and the jobs that it put into the queue are
// done. Where the program would wait, for the next attempt or because of a snooze,
// Run goes on at once; River takes a quarter of a second between attempts.
//
// It ends the test when the program would not run the job type: it could not be
// registered, does not want the event, or has worked it already.
func (db *Database) Run(t testing.TB, jobType worker.JobType, event Event, opts ...Option) Result {
	t.Helper()
	s := db.open(t, jobType, event, opts)
	defer s.close()
	s.deliverNew(event)
	s.drive(s.worked, nil)
	return s.result()
}
