package worker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"lumin-ingest/worker"
)

// shiftClock puts the database's clock ahead of this machine's, for every
// statement that does not name pg_catalog.
func (r *rig) shiftClock(ahead time.Duration) {
	r.t.Helper()
	r.exec(`CREATE SCHEMA shifted`)
	for _, function := range []string{"now", "clock_timestamp"} {
		r.exec(fmt.Sprintf(`CREATE FUNCTION shifted.%[1]s() RETURNS timestamptz LANGUAGE sql AS
			$$ SELECT pg_catalog.%[1]s() + interval '%[2]d seconds' $$`, function, int(ahead.Seconds())))
	}
	r.exec(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = shifted, pg_catalog, public', current_database()); END $$`)
	r.pool.Reset()
}

// Jobs run on time even if the two clocks differ. This holds for new jobs,
// follow-up jobs, and jobs that are retried or snoozed, for less and for more
// than the five seconds that River schedules ahead. Only jobs that have run too
// long are rescued.
func TestClocksDiffer(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"ahead": 15 * time.Minute, "behind": -15 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.shiftClock(ahead)
			once := func(err error) func(context.Context, pgx.Tx, int) error {
				return func(_ context.Context, _ pgx.Tx, call int) error {
					if call == 1 {
						return err
					}
					return nil
				}
			}
			fresh, soon, late := newTxJob("fresh", nil), newTxJob("soon", once(errNo)), newTxJob("late", once(errNo))
			late.backoff = func(int) time.Duration { return 6 * time.Second }
			snoozed, later := newTxJob("snoozed", once(river.JobSnooze(time.Second))), newTxJob("later", once(river.JobSnooze(6*time.Second)))
			decides := newTxJob("decides", func(ctx context.Context, tx pgx.Tx, call int) error {
				_, err := river.ClientFromContext[pgx.Tx](ctx).InsertManyFastTx(ctx, tx, []river.InsertManyParams{
					{Args: noticeArgs{OrderID: 1}},
					{Args: noticeArgs{OrderID: 2}, InsertOpts: &river.InsertOpts{ScheduledAt: time.Now().Add(2 * time.Second)}},
				})
				return err
			})
			stuck := func(kind string, since time.Duration) {
				r.exec(`INSERT INTO lumin.river_job (kind, args, state, attempt, max_attempts, attempted_at, attempted_by)
					VALUES ($1, '{}', 'running', 1, 5, now() - make_interval(secs => $2), ARRAY['gone'])`, kind, since.Seconds())
			}
			stuck("fresh", time.Minute)
			stuck("soon", -2*time.Minute) // far from its limit, even if this test is slow
			sent := make(chan int, 10)
			types := []worker.JobType{fresh, soon, late, snoozed, later, decides}
			registry := registryOf(types...)
			worker.AddFollowUp(registry, noticeWorker{sent: sent})
			r.startRegistry(worker.Config{MaxWorkers: 8}.Quick(200*time.Millisecond), registry)

			start := time.Now()
			r.record(1, types...)
			r.wait("fresh jobs", func() bool {
				return r.count(`SELECT count(*) FROM lumin.runs WHERE state = 'succeeded' AND job_kind IN ('fresh', 'soon', 'snoozed', 'decides')`) == 4
			})
			r.wait("all jobs", func() bool { return r.count(`SELECT count(*) FROM lumin.runs WHERE state = 'succeeded'`) == len(types) })
			if took := time.Since(start); took < 6*time.Second || took > 25*time.Second {
				t.Errorf("the jobs took %s", took)
			}
			r.wait("jobs of the job type", func() bool { return len(sent) == 2 })
			r.wait("the rescue of a stuck job", func() bool {
				return r.count(`SELECT count(*) FROM lumin.river_job WHERE args = '{}' AND kind = 'fresh' AND state <> 'running'`) == 1
			})
			if n := r.count(`SELECT count(*) FROM lumin.river_job WHERE args = '{}' AND kind = 'soon' AND state = 'running'`); n != 1 {
				t.Error("a job that has just begun was rescued")
			}
			if n := r.count(`SELECT count(*) FROM lumin.river_job WHERE state = 'completed' AND abs(extract(epoch FROM finalized_at - now())) > 60`); n > 0 {
				t.Errorf("%d jobs were finished at another time", n)
			}
		})
	}
}

// The offset is correct at once after this machine's clock is set.
func TestClockOffset(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.shiftClock(time.Hour)
	offset, within, err := r.store.ClockOffset(t.Context())
	if err != nil || (offset-time.Hour).Abs() > within+time.Second {
		t.Errorf("the database is ahead by %s, give or take %s (%v)", offset, within, err)
	}
}
