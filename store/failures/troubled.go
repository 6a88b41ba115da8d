package failures

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// Troubled counts the runs of one job type that have failed or keep failing.
type Troubled struct {
	Kind     string
	Failed   int64
	Retrying int64 // failed with attempts left, and pending for long
}

const troubledSQL = `
SELECT job_kind, count(*) FILTER (WHERE state = 'failed'), count(*) FILTER (WHERE state = 'pending')
FROM (
    SELECT job_kind, state FROM lumin.runs WHERE state = 'failed'
    UNION ALL
    SELECT r.job_kind, r.state FROM lumin.runs r
    JOIN lumin.river_job j ON j.id = r.job_id
    WHERE r.state = 'pending' AND r.pending_since < now() - make_interval(secs => $1) AND r.error IS NOT NULL AND ` + hasFailedAttempt + `
) r
GROUP BY job_kind ORDER BY count(*) DESC, job_kind`

// CountTroubled counts failed runs, and runs that have been retrying for longer
// than the given time, by job type.
func CountTroubled(ctx context.Context, pool *pgxpool.Pool, long time.Duration) ([]Troubled, error) {
	return query.Structs[Troubled](ctx, pool, "count failed and retrying runs", troubledSQL, pgx.QueryExecModeCacheDescribe, long.Seconds())
}
