package workload

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// JobType counts the runs of one job type.
type JobType struct {
	Kind        string
	Events      []string // that it subscribes to; empty: all
	Sources     []string // empty: all
	Queue       string   // empty if it is not registered
	MaxAttempts int      // 0: River's default, or not registered
	WhenFailed  string   // hold, skip or cancel; empty: the job type is not ordered
	LastSeen    *time.Time

	Programs int // running programs that work it
	Queued   int64
	Running  int64
	Retrying int64
	Parked   int64
	Failed   int64
	Oldest   *time.Time // when the oldest pending run became pending; nil if none is pending
}

// Pending counts the runs that are queued, running or retrying.
func (t JobType) Pending() int64 { return t.Queued + t.Running + t.Retrying }

// Registered reports whether some program has registered the job type.
func (t JobType) Registered() bool { return t.LastSeen != nil }

// A pending run is queued if it is neither running nor retrying: its job has had no
// attempt, or was queued by a program of the version before this one. OFFSET 0
// keeps the look-up by id from becoming a join that reads all jobs.
const jobTypesSQL = `
WITH n AS (
    SELECT r.job_kind AS kind, 'failed' AS state, count(*) AS n, NULL::timestamptz AS oldest
    FROM lumin.runs r WHERE r.state = 'failed' GROUP BY 1
    UNION ALL
    SELECT r.job_kind, 'parked', count(*), NULL FROM lumin.runs r WHERE r.state = 'parked' GROUP BY 1
    UNION ALL
    SELECT r.job_kind, 'pending', count(*), min(r.pending_since) FROM lumin.runs r WHERE r.state = 'pending' GROUP BY 1
), j AS (
    SELECT j.kind, count(*) FILTER (WHERE j.state = 'running') AS running,
           count(*) FILTER (WHERE j.state <> 'running' AND j.attempt > 0) AS retrying
    FROM lumin.river_job j
    WHERE j.state IN ('available', 'pending', 'retryable', 'running', 'scheduled') AND (j.state = 'running' OR j.attempt > 0) AND j.args ? 'event_key'
    GROUP BY 1
), c AS (
    SELECT n.kind, coalesce(sum(n.n) FILTER (WHERE n.state = 'failed'), 0)::bigint AS failed,
           coalesce(sum(n.n) FILTER (WHERE n.state = 'parked'), 0)::bigint AS parked,
           coalesce(sum(n.n) FILTER (WHERE n.state = 'pending'), 0)::bigint AS pending, min(n.oldest) AS oldest
    FROM n GROUP BY 1
)
SELECT k.kind, coalesce(t.events, '{}'), coalesce(t.sources, '{}'), coalesce(t.queue, ''), coalesce(t.max_attempts, 0)::int, coalesce(t.when_failed, ''), t.last_seen,
       (SELECT count(*) FROM lumin.programs p WHERE k.kind = ANY (p.job_kinds) AND p.role <> 'ingest' AND p.last_seen >= now() - make_interval(secs => $1))::int,
       greatest(coalesce(c.pending, 0) - coalesce(j.running, 0) - coalesce(j.retrying, 0), 0),
       coalesce(j.running, 0), coalesce(j.retrying, 0), coalesce(c.parked, 0), coalesce(c.failed, 0), c.oldest
FROM (SELECT t.kind FROM lumin.job_types t UNION SELECT n.kind FROM n) k
LEFT JOIN lumin.job_types t ON t.kind = k.kind
LEFT JOIN c ON c.kind = k.kind
LEFT JOIN j ON j.kind = k.kind
ORDER BY k.kind`

// JobTypes counts the runs of each job type that is registered or has unfinished
// or failed runs, in the order of their kinds.
func JobTypes(ctx context.Context, pool *pgxpool.Pool) ([]JobType, error) {
	return query.Structs[JobType](ctx, pool, "count the runs of job types", jobTypesSQL, pgx.QueryExecModeCacheDescribe, seenWithin.Seconds())
}

// seenWithin is how long after its last heartbeat a program counts as running, as
// in package catalog.
const seenWithin = time.Minute
