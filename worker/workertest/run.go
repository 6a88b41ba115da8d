package workertest

import (
	"testing"
	"time"

	"github.com/riverqueue/river"

	"lumin-ingest/worker"
)

// Result is the outcome of a run.
type Result struct {
	// State is the state of the run in lumin.runs: succeeded, failed or
	// cancelled. It is pending if the job was snoozed MaxSnoozes times.
	State string

	Attempts int      // without snoozes
	Errors   []string // of failed attempts, as stored: without addresses and URL queries

	Calls   int             // calls of the job type's code
	Snoozes []time.Duration // durations that the job type's code asked for

	// Event is the event of the last call. It is nil if the job type's code was
	// never called.
	Event *worker.Event

	// FollowUps lists the jobs that the job type inserted, the oldest first.
	FollowUps []FollowUp
}

// FollowUp is a job that a job type inserted into the queue.
type FollowUp struct {
	Kind     string
	Args     string // JSON, which River keeps for days
	State    string // River's state: completed, discarded or cancelled; scheduled after MaxSnoozes
	Attempts int    // without snoozes
	Snoozes  int
	Errors   []string
}

// MaxSnoozes is how often a job may snooze before the test stops waiting for
// it. The snoozes themselves take no time.
const MaxSnoozes = 10

// Option changes what [Database.Run] and [Twice] do: [Crash] and
// [WithFollowUp].
type Option func(*options)

type options struct {
	crashes   int
	poison    []int
	followUps []func(*worker.Registry)
}

// Crash simulates n crashes of the program, in the next n attempts that would
// have succeeded. Each crash happens after the job type's code has returned nil
// and before the run is settled. The transaction of a transactional job type is
// rolled back. Each crash counts as an attempt, and MaxAttempts grows by n.
func Crash(n int) Option {
	return func(o *options) { o.crashes = n }
}

// WithFollowUp registers a River worker, as [worker.AddFollowUp] does. It runs
// the jobs that the job type inserts for it.
func WithFollowUp[T river.JobArgs](w river.Worker[T]) Option {
	return func(o *options) {
		o.followUps = append(o.followUps, func(r *worker.Registry) { worker.AddFollowUp(r, w) })
	}
}

// Run records an event as the ingest side does and runs the job type on it. It
// returns once the run is settled and the jobs that it inserted are done. Run
// skips the waiting for retries and snoozes, but River takes a quarter of a
// second between attempts.
//
// Run ends the test if the program would not run the job type: it cannot be
// registered, does not subscribe to the event, or has already processed it.
func (db *Database) Run(t testing.TB, jobType worker.JobType, event Event, opts ...Option) Result {
	t.Helper()
	s := db.open(t, jobType, event, opts)
	defer s.close()
	s.deliverNew(event)
	s.drive(s.worked, nil)
	return s.result()
}
