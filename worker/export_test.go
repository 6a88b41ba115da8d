package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"lumin-ingest/migrations"
	"lumin-ingest/store"
	"lumin-ingest/store/retention"
)

// Quick makes a Runtime of this Config poll more often, and gives running jobs
// less time when it stops.
func (c Config) Quick(softStop time.Duration) Config {
	c.softStop, c.pollInterval = softStop, 20*time.Millisecond
	return c
}

// The queues of the internal jobs.
const (
	InternalQueue = replayQueue
	PeriodicQueue = periodicQueue
)

// Warnings returns the handler that filters River's log.
func Warnings(h slog.Handler) slog.Handler { return warnings{h} }

// Unpolled makes a Runtime of this Config wait for notifications only.
func (c Config) Unpolled() Config {
	c.pollInterval = time.Hour
	return c
}

// ErrTurnedAway ends an attempt that has nothing to do.
var ErrTurnedAway = errTurnedAway

// RetainArgs are the arguments of the retention job.
type RetainArgs = periodicArgs

// Retainer returns the worker of the retention job, with slices of this length.
func Retainer(s *store.Store, p retention.Policy, slice time.Duration) river.Worker[RetainArgs] {
	return newRetainer(s, p, slice, func(retention.Removed) {}, slog.New(slog.DiscardHandler))
}

// InTurn does the parts of a sweep.
func InTurn(ctx context.Context, parts ...func(context.Context) error) error {
	return inTurn(ctx, parts...)
}

// Reindexed returns the indexes that River rebuilds.
func Reindexed() []string { return reindexed() }

// Names of the package that its external tests use.
const (
	LookEvery    = lookEvery
	LongestPause = longestPause
	LockTimeout  = lockTimeout
	LockPause    = lockPause
	LostAfter    = lostAfter
	OwnerSilence = ownerSilence
)

// Owner is the owner of the jobs of a Runtime, without a database.
type Owner struct{ owner }

// NewOwner returns the Owner with this name. It took its lock again so long ago.
func NewOwner(name string, afterOutage time.Duration) *Owner {
	return &Owner{owner{name: name, jobs: newHeldJobs(), patient: time.Now().Add(lostAfterOutage - afterOutage)}}
}

// StartOwner starts the owner of jobs that a River client fetches.
func StartOwner(ctx context.Context, s *store.Store, logger *slog.Logger, client string) (stop func()) {
	o := newOwner(s, logger)
	o.start(ctx, client)
	return o.stop
}

// Due reports whether the jobs of an owner whose lock has been free for so long may
// be given back.
func (o *Owner) Due(name string, free time.Duration) bool {
	return o.due(name, sighting{local: time.Now().Add(-free)})
}

// Pause returns the pause after a look.
func (o *Owner) Pause(locked bool, took time.Duration) time.Duration {
	o.locked.Store(locked)
	return o.pause(took)
}

// Fetching, Ending and Held are functions of heldJobs.
func (o *Owner) Fetching() func([]*rivertype.JobRow) { return o.jobs.fetching() }
func (o *Owner) Ending(ids ...int64) func()          { return o.jobs.ending(ids) }
func (o *Owner) Held() []int64                       { ids, _ := o.jobs.list(time.Time{}); return ids }

// Reindex rebuilds an index as River does.
func Reindex(ctx context.Context, pool *pgxpool.Pool, index string) error {
	executor := newClockDriver(pool, &databaseClock{}, &owner{}, slog.New(slog.DiscardHandler)).GetExecutor()
	return executor.IndexReindex(ctx, &riverdriver.IndexReindexParams{Schema: migrations.Schema, Index: index})
}
