package worker

import (
	"log/slog"
	"time"

	"github.com/riverqueue/river"

	"lumin-ingest/store"
	"lumin-ingest/store/retention"
)

// Quick makes a Runtime of this Config poll more often, and gives running jobs
// less time when it stops.
func (c Config) Quick(softStop time.Duration) Config {
	c.softStop, c.pollInterval = softStop, 20*time.Millisecond
	return c
}

// InternalQueue is the queue of the internal jobs.
const InternalQueue = replayQueue

// Warnings returns the handler that filters River's log.
func Warnings(h slog.Handler) slog.Handler { return warnings{h} }

// Unpolled makes a Runtime of this Config wait for notifications only.
func (c Config) Unpolled() Config {
	c.pollInterval = time.Hour
	return c
}

// RetainArgs are the arguments of the retention job.
type RetainArgs = periodicArgs

// Retainer returns the worker of the retention job, with slices of this length.
func Retainer(s *store.Store, p retention.Policy, slice time.Duration) river.Worker[RetainArgs] {
	return newRetainer(s, p, slice, slog.New(slog.DiscardHandler))
}

// Reindexed returns the indexes that River rebuilds.
func Reindexed() []string { return reindexed() }

// Names of the package that its external tests use.
const (
	LookEvery = lookEvery
	LostAfter = lostAfter
)
