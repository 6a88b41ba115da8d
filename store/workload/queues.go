package workload

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// Queue counts the jobs of one queue. Besides runs, these are follow-up jobs,
// periodic jobs and the program's own.
type Queue struct {
	Name     string
	PausedAt *time.Time // nil: it is not paused
	LastSeen *time.Time // when a program last worked it; nil: not within a day
	Kinds    []string   // registered job types that use it

	Queued  int64      // wait for a free worker
	Running int64      // are being worked
	Waiting int64      // wait for their time, such as the next attempt
	Oldest  *time.Time // since when the oldest queued job could run; nil if none is queued
}

const queuesSQL = `
WITH j AS (
    SELECT j.queue, count(*) FILTER (WHERE j.state = 'available') AS queued, count(*) FILTER (WHERE j.state = 'running') AS running,
           count(*) FILTER (WHERE j.state NOT IN ('available', 'running')) AS waiting,
           min(j.scheduled_at) FILTER (WHERE j.state = 'available') AS oldest
    FROM lumin.river_job j
    WHERE j.state IN ('available', 'pending', 'retryable', 'running', 'scheduled')
    GROUP BY 1
)
SELECT k.name, q.paused_at, q.updated_at, ARRAY(SELECT t.kind FROM lumin.job_types t WHERE t.queue = k.name ORDER BY t.kind),
       coalesce(j.queued, 0), coalesce(j.running, 0), coalesce(j.waiting, 0), j.oldest
FROM (SELECT q.name FROM lumin.river_queue q UNION SELECT j.queue FROM j UNION SELECT t.queue FROM lumin.job_types t) k (name)
LEFT JOIN lumin.river_queue q ON q.name = k.name
LEFT JOIN j ON j.queue = k.name
ORDER BY k.name`

// Queues counts the jobs of each queue that a program works, a job type uses or a
// job waits in.
func Queues(ctx context.Context, pool *pgxpool.Pool) ([]Queue, error) {
	return query.Structs[Queue](ctx, pool, "count the jobs of queues", queuesSQL, pgx.QueryExecModeCacheDescribe)
}
