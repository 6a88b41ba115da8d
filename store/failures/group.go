package failures

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// NoFingerprint is the error fingerprint of runs whose error is not known.
const NoFingerprint = "none"

// Group describes the failed, retrying or dismissed runs of one job type with
// the same error fingerprint.
type Group struct {
	State       string    `json:"state"` // failed, retrying or dismissed
	Kind        string    `json:"job_kind"`
	Fingerprint string    `json:"error_fingerprint"` // as in lumin.runs; NoFingerprint if no error is known
	Runs        int64     `json:"count"`
	FirstAt     time.Time `json:"first_at"` // of the last attempt of each run
	LastAt      time.Time `json:"last_at"`
	EventID     int64     `json:"event_id"` // the newest event among them
	Error       string    `json:"error"`    // one of their errors

	// SucceededBefore counts runs that took effect before they were replayed.
	SucceededBefore int64 `json:"succeeded_before"`

	NextAttempt *time.Time `json:"next_attempt_at"` // the earliest of the retrying runs; nil while all are running
	DismissedBy string     `json:"dismissed_by,omitempty"`
	Reason      string     `json:"reason,omitempty"` // of the dismissal
}

const failedGroupsSQL = `
SELECT 'failed', r.job_kind, coalesce(r.error_fingerprint, '` + NoFingerprint + `'), count(*),
       min(r.finished_at), max(r.finished_at), max(r.event_id), coalesce(max(r.error), ''),
       count(*) FILTER (WHERE r.rerun > 0), NULL::timestamptz, '', ''
FROM lumin.runs r
WHERE r.state = 'failed'
  AND (cardinality($1::text[]) = 0 OR r.job_kind = ANY ($1))
  AND ($2::timestamptz IS NULL OR r.finished_at >= $2)
GROUP BY 2, 3
ORDER BY 4 DESC, 2, 3 LIMIT $3`

// A replayed run that waits for its first attempt may still have its old error,
// so the attempts of its job decide. A run stores the id of its job at the
// first failed attempt.
const retryingGroupsSQL = `
SELECT 'retrying', r.job_kind, coalesce(r.error_fingerprint, '` + NoFingerprint + `'), count(*),
       min(j.attempted_at), max(j.attempted_at), max(r.event_id), coalesce(max(r.error), ''),
       count(*) FILTER (WHERE r.rerun > 0), min(j.scheduled_at) FILTER (WHERE j.state <> 'running'), '', ''
FROM lumin.runs r
JOIN lumin.river_job j ON j.id = r.job_id
WHERE r.state = 'pending' AND r.error IS NOT NULL
  AND j.attempt > (j.state = 'running')::int AND j.attempted_at IS NOT NULL
  AND (cardinality($1::text[]) = 0 OR r.job_kind = ANY ($1))
  AND ($2::timestamptz IS NULL OR j.attempted_at >= $2)
GROUP BY 2, 3
ORDER BY 4 DESC, 2, 3 LIMIT $3`

const dismissedGroupsSQL = `
SELECT 'dismissed', r.job_kind, coalesce(r.error_fingerprint, '` + NoFingerprint + `'), count(*),
       min(r.finished_at), max(r.finished_at), max(r.event_id), coalesce(max(r.error), ''),
       count(*) FILTER (WHERE r.rerun > 0), NULL::timestamptz, d.dismissed_by, d.reason
FROM lumin.dismissals d
JOIN lumin.runs r ON r.event_key = d.event_key AND r.job_kind = d.job_kind
WHERE r.state = 'dismissed'
  AND (cardinality($1::text[]) = 0 OR r.job_kind = ANY ($1))
  AND ($2::timestamptz IS NULL OR r.finished_at >= $2)
GROUP BY 2, 3, d.dismissed_by, d.reason
ORDER BY 4 DESC, 2, 3, 11, 12 LIMIT $3`

// Failed groups failed runs by job type and error, the biggest group first, at
// most limit groups. Without kinds it lists all kinds, and without since all
// times.
func Failed(ctx context.Context, pool *pgxpool.Pool, kinds []string, since *time.Time, limit int) ([]Group, error) {
	return groups(ctx, pool, failedGroupsSQL, kinds, since, limit)
}

// Retrying groups runs that failed and have attempts left, like [Failed].
func Retrying(ctx context.Context, pool *pgxpool.Pool, kinds []string, since *time.Time, limit int) ([]Group, error) {
	return groups(ctx, pool, retryingGroupsSQL, kinds, since, limit)
}

// Dismissed groups dismissed runs like [Failed], and also by reason and by the
// person who dismissed them.
func Dismissed(ctx context.Context, pool *pgxpool.Pool, kinds []string, since *time.Time, limit int) ([]Group, error) {
	return groups(ctx, pool, dismissedGroupsSQL, kinds, since, limit)
}

func groups(ctx context.Context, pool *pgxpool.Pool, sql string, kinds []string, since *time.Time, limit int) ([]Group, error) {
	return query.Structs[Group](ctx, pool, "group failures", sql, pgx.QueryExecModeCacheDescribe, query.NotNull(kinds), since, limit)
}

// AnyDismissed reports whether any run is dismissed.
func AnyDismissed(ctx context.Context, pool *pgxpool.Pool) (found bool, err error) {
	if err := pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM lumin.dismissed_runs)`).Scan(&found); err != nil {
		return false, fmt.Errorf("find dismissed runs: %w", err)
	}
	return found, nil
}

// Troubled counts the runs of one job type that have failed or keep failing.
type Troubled struct {
	Kind     string
	Failed   int64
	Retrying int64 // failed with attempts left, and pending for long
}

// A run stores the id of its job at each failed attempt. A replay clears it.
const troubledSQL = `
SELECT job_kind, count(*) FILTER (WHERE state = 'failed'), count(*) FILTER (WHERE state = 'pending')
FROM (
    SELECT job_kind, state FROM lumin.runs WHERE state = 'failed'
    UNION ALL
    SELECT job_kind, state FROM lumin.runs
    WHERE state = 'pending' AND pending_since < now() - make_interval(secs => $1) AND error IS NOT NULL AND job_id IS NOT NULL
) r
GROUP BY job_kind ORDER BY count(*) DESC, job_kind`

// CountTroubled counts failed runs, and runs that have been retrying for longer
// than the given time, by job type.
func CountTroubled(ctx context.Context, pool *pgxpool.Pool, long time.Duration) ([]Troubled, error) {
	return query.Structs[Troubled](ctx, pool, "count failed and retrying runs", troubledSQL, pgx.QueryExecModeCacheDescribe, long.Seconds())
}
