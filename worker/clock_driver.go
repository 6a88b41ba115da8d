package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
)

// clockDriver is River's driver. It translates the times that pass through it, and
// names the owner of the jobs that are fetched: see [ownedExecutor].
//
// River reads this machine's clock for the time of a retry, a snooze or a
// periodic job, and to decide whether a running job is stuck. The database
// compares all these times with its own clock. If the clocks differed by 15
// minutes, jobs would wait for 15 minutes, or be rescued while they run.
// River's own clock can be replaced only in tests, and not for the rescuer.
//
// River's driver interface is not stable. Therefore the version of River is
// pinned, and a test runs jobs on a database whose clock differs.
type clockDriver struct {
	*riverpgxv5.Driver
	clock  *databaseClock
	owner  *owner
	logger *slog.Logger
}

func newClockDriver(pool *pgxpool.Pool, clock *databaseClock, owner *owner, logger *slog.Logger) *clockDriver {
	return &clockDriver{riverpgxv5.New(pool), clock, owner, logger}
}

// GetExecutor implements riverdriver.Driver.
func (d *clockDriver) GetExecutor() riverdriver.Executor {
	return &ownedExecutor{&clockExecutor{d.Driver.GetExecutor(), d.clock}, d.owner}
}

// UnwrapExecutor implements riverdriver.Driver.
func (d *clockDriver) UnwrapExecutor(tx pgx.Tx) riverdriver.ExecutorTx {
	return newClockTx(d.Driver.UnwrapExecutor(tx), d.clock)
}

// UnwrapTx implements riverdriver.Driver.
func (d *clockDriver) UnwrapTx(tx riverdriver.ExecutorTx) pgx.Tx {
	if ours, ok := tx.(*clockTx); ok {
		tx = ours.tx
	}
	return d.Driver.UnwrapTx(tx)
}

// GetListener implements riverdriver.Driver.
func (d *clockDriver) GetListener(params *riverdriver.GetListenenerParams) riverdriver.Listener {
	return &steadyListener{Listener: d.Driver.GetListener(params), logger: d.logger, topics: map[string]bool{}}
}

// clockTx is a clockExecutor for a transaction.
type clockTx struct {
	clockExecutor
	tx riverdriver.ExecutorTx
}

func newClockTx(tx riverdriver.ExecutorTx, clock *databaseClock) *clockTx {
	return &clockTx{clockExecutor{tx, clock}, tx}
}

// Commit implements riverdriver.ExecutorTx.
func (t *clockTx) Commit(ctx context.Context) error { return t.tx.Commit(ctx) }

// Rollback implements riverdriver.ExecutorTx.
func (t *clockTx) Rollback(ctx context.Context) error { return t.tx.Rollback(ctx) }

// clockExecutor translates times in the calls whose times the database compares
// with its own. It copies parameters, because River reuses them when it repeats
// a call.
type clockExecutor struct {
	riverdriver.Executor
	clock *databaseClock
}

// toDatabase translates a time of this machine's clock into one of the
// database's.
func (e *clockExecutor) toDatabase(t time.Time) time.Time { return t.Add(e.clock.offset()) }

func (e *clockExecutor) allToDatabase(times []*time.Time) []*time.Time {
	translated := make([]*time.Time, len(times))
	for i, t := range times {
		if t != nil {
			translated[i] = new(e.toDatabase(*t))
		}
	}
	return translated
}

// Begin implements riverdriver.Executor.
func (e *clockExecutor) Begin(ctx context.Context) (riverdriver.ExecutorTx, error) {
	tx, err := e.Executor.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return newClockTx(tx, e.clock), nil
}

// JobInsertFastMany implements riverdriver.Executor. A job without a time is
// due at once: River's statement replaces the zero time by the database's
// now().
func (e *clockExecutor) JobInsertFastMany(ctx context.Context, params *riverdriver.JobInsertFastManyParams) ([]*riverdriver.JobInsertFastResult, error) {
	translated := *params
	translated.Jobs = make([]*riverdriver.JobInsertFastParams, len(params.Jobs))
	for i, original := range params.Jobs {
		job := *original
		if job.CreatedAt == nil {
			job.CreatedAt = new(time.Time)
		}
		if job.ScheduledAt == nil {
			job.ScheduledAt = new(time.Time)
		} else {
			job.ScheduledAt = new(e.toDatabase(*job.ScheduledAt))
		}
		translated.Jobs[i] = &job
	}
	return e.Executor.JobInsertFastMany(ctx, &translated)
}

// JobInsertFastManyNoReturning implements riverdriver.Executor. River would use
// COPY, which cannot read the database's clock.
func (e *clockExecutor) JobInsertFastManyNoReturning(ctx context.Context, params *riverdriver.JobInsertFastManyParams) (int, error) {
	inserted, err := e.JobInsertFastMany(ctx, params)
	return len(inserted), err
}

// JobSetStateIfRunningMany implements riverdriver.Executor.
func (e *clockExecutor) JobSetStateIfRunningMany(ctx context.Context, params *riverdriver.JobSetStateIfRunningManyParams) ([]*rivertype.JobRow, error) {
	translated := *params
	translated.FinalizedAt, translated.ScheduledAt = e.allToDatabase(params.FinalizedAt), e.allToDatabase(params.ScheduledAt)
	return e.Executor.JobSetStateIfRunningMany(ctx, &translated)
}

// JobSchedule implements riverdriver.Executor.
func (e *clockExecutor) JobSchedule(ctx context.Context, params *riverdriver.JobScheduleParams) ([]*riverdriver.JobScheduleResult, error) {
	translated, offset := *params, e.clock.offset()
	if translated.Now != nil {
		translated.Now = new(translated.Now.Add(offset))
	}
	results, err := e.Executor.JobSchedule(ctx, &translated)
	for _, result := range results { // River compares them with this machine's clock
		result.Job.ScheduledAt = result.Job.ScheduledAt.Add(-offset)
	}
	return results, err
}

// JobGetStuck implements riverdriver.Executor.
func (e *clockExecutor) JobGetStuck(ctx context.Context, params *riverdriver.JobGetStuckParams) ([]*rivertype.JobRow, error) {
	translated, offset := *params, e.clock.offset()
	translated.StuckHorizon = translated.StuckHorizon.Add(offset)
	jobs, err := e.Executor.JobGetStuck(ctx, &translated)
	for _, job := range jobs { // River compares them with this machine's clock
		if job.AttemptedAt != nil {
			job.AttemptedAt = new(job.AttemptedAt.Add(-offset))
		}
	}
	return jobs, err
}

// JobRescueMany implements riverdriver.Executor.
func (e *clockExecutor) JobRescueMany(ctx context.Context, params *riverdriver.JobRescueManyParams) (*struct{}, error) {
	translated := *params
	translated.StuckHorizon = e.toDatabase(params.StuckHorizon)
	translated.FinalizedAt = e.allToDatabase(params.FinalizedAt)
	translated.ScheduledAt = make([]time.Time, len(params.ScheduledAt))
	for i, at := range params.ScheduledAt {
		translated.ScheduledAt[i] = e.toDatabase(at)
	}
	return e.Executor.JobRescueMany(ctx, &translated)
}

// JobDeleteBefore implements riverdriver.Executor.
func (e *clockExecutor) JobDeleteBefore(ctx context.Context, params *riverdriver.JobDeleteBeforeParams) (int, error) {
	translated := *params
	translated.CancelledFinalizedAtHorizon = e.toDatabase(params.CancelledFinalizedAtHorizon)
	translated.CompletedFinalizedAtHorizon = e.toDatabase(params.CompletedFinalizedAtHorizon)
	translated.DiscardedFinalizedAtHorizon = e.toDatabase(params.DiscardedFinalizedAtHorizon)
	return e.Executor.JobDeleteBefore(ctx, &translated)
}

// QueueDeleteExpired implements riverdriver.Executor.
func (e *clockExecutor) QueueDeleteExpired(ctx context.Context, params *riverdriver.QueueDeleteExpiredParams) ([]string, error) {
	translated := *params
	translated.UpdatedAtHorizon = e.toDatabase(params.UpdatedAtHorizon)
	return e.Executor.QueueDeleteExpired(ctx, &translated)
}

// LeaderAttemptElect implements riverdriver.Executor. It turns an error into
// "not elected", after which River tries again within seconds. After an error
// River would pause for up to eight minutes, and without a leader no retry
// becomes due.
func (e *clockExecutor) LeaderAttemptElect(ctx context.Context, params *riverdriver.LeaderElectParams) (*riverdriver.Leader, error) {
	leader, err := e.Executor.LeaderAttemptElect(ctx, params)
	if err != nil && ctx.Err() == nil {
		return nil, rivertype.ErrNotFound
	}
	return leader, err
}
