package worker

import (
	"context"
	"math"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// JobType is what plain and transactional job types have in common. Embed
// [Defaults] and override what should differ.
type JobType interface {
	// Kind names the job type in the database, so it must not change while there
	// are runs of it: 2 to 127 letters, digits, _ and -, beginning with a letter.
	Kind() string

	// Events are the event types that it wants; [lumin.AnyEvent] is all of them,
	// undocumented ones too.
	Events() []lumin.EventType

	// Sources are the sources that it wants; none means all.
	Sources() []string

	// Queue is the River queue that its jobs wait in.
	Queue() string

	// Priority orders jobs within a queue, from 1 (first) to 4.
	Priority() int

	// MaxAttempts is how often a job is tried before its run is failed.
	MaxAttempts() int

	// Timeout bounds one attempt.
	Timeout() time.Duration

	// Backoff is how long to wait after the attempt of this number, from 1.
	Backoff(attempt int) time.Duration
}

// Plain is a job type that works outside a transaction, such as on other
// systems: at least once per event, and seldom more.
type Plain interface {
	JobType
	Work(ctx context.Context, e *store.Event) error
}

// Transactional is a job type whose whole effect is in this database, made
// through tx: exactly once per event, and once more for each replay.
//
// The transaction is ended for it: by a commit when WorkTx returns nil, and
// otherwise by a rollback.
type Transactional interface {
	JobType
	WorkTx(ctx context.Context, tx pgx.Tx, e *store.Event) error
}

// Defaults are the settings of a job type that does not override them.
type Defaults struct{}

// Sources is none, which means all: what several webhooks report is worked once
// anyway.
func (Defaults) Sources() []string { return nil }

// Queue is default, which job types share unless one of them is slow enough to keep
// the others waiting: that one should have a queue, and workers, of its own.
func (Defaults) Queue() string { return "default" }

// Priority is 1, the first: a queue is worked in the order of arrival until some job
// type is worth less.
func (Defaults) Priority() int { return 1 }

// MaxAttempts is 10, which with Backoff takes about three hours: long enough for
// most outages to end, short enough to hear of the others the same day. River's
// own 25 take twenty days.
func (Defaults) MaxAttempts() int { return 10 }

// Timeout is 10 seconds, enough for statements and for a call of another system,
// and less than the 15 seconds after which River takes a job for stuck and has it
// tried again. For a longer one River waits longer, too.
func (Defaults) Timeout() time.Duration { return 10 * time.Second }

// Backoff grows from 4 seconds by a factor of 2.5, to 1 h 42 min before the
// tenth attempt, give or take a tenth so that failed jobs spread out.
func (Defaults) Backoff(attempt int) time.Duration {
	const first, factor, longest = 4 * time.Second, 2.5, 6 * time.Hour
	delay := float64(first) * math.Pow(factor, float64(max(attempt, 1)-1))
	return time.Duration(min(delay, float64(longest)) * (0.9 + 0.2*rand.Float64()))
}
