package alerts

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

// internalJob is a periodic job of the program itself.
type internalJob struct {
	Kind string
	Job  string // what it does, for people
	Late int    // seconds without a good end after which something is wrong
}

// The sweep runs every 30 seconds, erasures each minute, and retention every 10 minutes.
// A pass of erasures ends within 10 minutes. A pass of retention through a large database
// takes hours, in slices that count as progress.
func internalJobs() []internalJob {
	return []internalJob{
		{"lumin_sweep", "the sweep, which settles runs that nothing else settled,", 15 * 60},
		{"lumin_erase", "the task that carries out erasures", 15 * 60},
		{"lumin_retain", "retention, which removes old events and bodies,", 2 * 60 * 60},
	}
}

// River keeps rows of finished jobs for a day, and these jobs have at most 2,880 a
// day. OFFSET 0 keeps the planner from looking for them among all completed jobs. A job
// that was snoozed has finished a slice; its first slice proves nothing while it runs. A
// job that was left to another did nothing. Jobs that no program runs are a backlog, so
// only programs that have been working for long enough count.
const housekeepingSQL = `
SELECT w.since, extract(epoch FROM now() - greatest(w.since, j.good))::float8, coalesce(j.error, '')
FROM (SELECT min(started_at) AS since FROM lumin.programs WHERE role <> 'ingest' AND last_seen >= now() - interval '1 minute') w
CROSS JOIN LATERAL (
    SELECT max(CASE WHEN k.metadata ? 'left_to_another' THEN NULL WHEN k.state = 'completed' THEN k.finalized_at
                    WHEN k.metadata ? 'snoozes' AND k.state IN ('available', 'scheduled', 'running') THEN k.attempted_at END) AS good,
           (array_agg(k.errors[cardinality(k.errors)] ->> 'error' ORDER BY k.id DESC) FILTER (WHERE k.state = 'discarded'))[1] AS error
    FROM (SELECT id, state, finalized_at, attempted_at, errors, metadata FROM lumin.river_job WHERE kind = $1 OFFSET 0) k
) j
WHERE w.since IS NOT NULL`

// housekeeping finds internal jobs that no longer succeed.
func (x *Examiner) housekeeping(ctx context.Context) (f Finding, err error) {
	var (
		since   time.Time
		seconds float64
		cause   string
	)
	f.Reason = "no program works jobs"
	for _, job := range internalJobs() {
		err := query.Each(ctx, x.pool, "examine "+job.Kind, []any{&since, &seconds, &cause}, func() error {
			f.Reason = "the sweep, erasures and retention run"
			if seconds < float64(job.Late) {
				return nil
			}
			f.Alerts = append(f.Alerts, Alert{
				Key: Housekeeping + "/" + job.Kind,
				Text: fmt.Sprintf("%s has not succeeded for %s (last error: %s). See the log of the programs that run jobs.",
					job.Job, about(time.Duration(seconds*float64(time.Second))), sampleOf(cause)),
				Page: "/programs",
			})
			return nil
		}, housekeepingSQL, pgx.QueryExecModeCacheDescribe, job.Kind)
		if err != nil {
			return f, err
		}
	}
	return f, nil
}
