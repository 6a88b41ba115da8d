package worker

import (
	"log/slog"
	"time"

	"github.com/riverqueue/river"

	"lumin-ingest/store"
	"lumin-ingest/store/retention"
)

// Quick makes a Runtime of this Config look for jobs more often, and gives
// running ones less time when it stops.
func (c Config) Quick(softStop time.Duration) Config {
	c.softStop, c.pollInterval = softStop, 20*time.Millisecond
	return c
}

// InternalQueue is the queue of the program's own jobs.
const InternalQueue = replayQueue

// Warnings is what River's log goes through.
func Warnings(h slog.Handler) slog.Handler { return warnings{h} }

// Unpolled makes a Runtime of this Config wait for notifications only.
func (c Config) Unpolled() Config {
	c.pollInterval = time.Hour
	return c
}

// RetainArgs are those of the periodic retention.
type RetainArgs = retainArgs

// Retainer is the worker of the periodic retention, with slices of a given length.
func Retainer(s *store.Store, p retention.Policy, slice time.Duration) river.Worker[RetainArgs] {
	return &retainer{store: s, policy: p, slice: slice, logger: slog.New(slog.DiscardHandler)}
}
