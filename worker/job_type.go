package worker

import (
	"context"
	"math"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
)

// JobType has the methods that plain and transactional job types have in
// common. Embed [Defaults] and override the methods whose result should differ.
type JobType interface {
	// Kind returns the name of the job type: 2 to 127 letters, digits, _ and -,
	// beginning with a letter. It is stored with every run, so do not change it
	// while the job type has runs.
	Kind() string

	// Events returns the event types that the job type handles.
	// [lumin.AnyEvent] stands for all of them, including undocumented ones.
	Events() []lumin.EventType

	// Sources returns the sources whose events the job type handles. None means
	// all.
	Sources() []string

	// Recovered reports whether the job type handles recovered events: those that
	// no webhook reported, and that were made from an answer of Lumin's API. It
	// then gets them whatever its Sources are.
	Recovered() bool

	// Queue returns the name of the River queue for its jobs.
	Queue() string

	// Priority returns the rank of its jobs within the queue, from 1 (first) to
	// 4.
	Priority() int

	// MaxAttempts returns the number of attempts after which a run fails.
	MaxAttempts() int

	// Timeout returns the time limit of one attempt.
	Timeout() time.Duration

	// Backoff returns the delay after a failed attempt. The first attempt has
	// number 1.
	Backoff(attempt int) time.Duration
}

// Plain is a job type that works outside a transaction, such as one that calls
// another system. It works at least once per event. A crash, a timeout or a
// lost connection at the wrong moment repeats it.
type Plain interface {
	JobType

	// Work handles one event. The run succeeds if it returns nil. The package
	// documentation lists the errors with a special meaning.
	Work(ctx context.Context, e *Event) error
}

// Transactional is a job type whose whole effect is in this database and made
// through tx. It takes effect exactly once per event, and once more for each
// replay that asks for it.
//
// The worker commits tx if WorkTx returns nil, and rolls it back otherwise.
type Transactional interface {
	JobType

	// WorkTx handles one event, and must write only through tx. The run
	// succeeds if it returns nil. The package documentation lists the errors
	// with a special meaning.
	WorkTx(ctx context.Context, tx pgx.Tx, e *Event) error
}

// Defaults has the default settings. Embed it in a job type.
type Defaults struct{}

// Sources returns nil, which means all sources. An event that several webhooks
// report still has one run.
func (Defaults) Sources() []string { return nil }

// Recovered returns true. A recovered event is as certain as one that a webhook
// reported, but its payload has Lumin's answer instead of a delivery.
func (Defaults) Recovered() bool { return true }

// Queue returns "default". Job types can share a queue unless one of them is
// slow enough to delay the others. Give a slow one its own queue and workers.
func (Defaults) Queue() string { return "default" }

// Priority returns 1, the first rank. A queue whose jobs all have the same rank
// is worked in the order of arrival.
func (Defaults) Priority() int { return 1 }

// MaxAttempts returns 10. With the default Backoff they take about three hours.
// Most outages end within that time, and longer ones are noticed on the same
// day. River's own 25 attempts take twenty days.
func (Defaults) MaxAttempts() int { return 10 }

// Timeout returns 10 seconds, which is enough for statements and for a call of
// another system. River regards a job as stuck after 15 seconds, or after its
// own timeout if that is longer.
func (Defaults) Timeout() time.Duration { return 10 * time.Second }

// Backoff returns 4 seconds after the first attempt and grows by a factor of
// 2.5, to 1 h 42 min before the tenth attempt. It varies by a tenth so that
// failed jobs spread out.
func (Defaults) Backoff(attempt int) time.Duration {
	const first, factor, longest = 4 * time.Second, 2.5, 6 * time.Hour
	delay := float64(first) * math.Pow(factor, float64(max(attempt, 1)-1))
	return time.Duration(min(delay, float64(longest)) * (0.9 + 0.2*rand.Float64()))
}
