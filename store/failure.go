package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// FailureGroup is failed runs of one job type with the same kind of error.
type FailureGroup struct {
	Kind        string    `json:"job_kind"`
	Fingerprint string    `json:"error_fingerprint"` // as in lumin.runs; NoFingerprint where no error is known
	Runs        int64     `json:"count"`
	FirstAt     time.Time `json:"first_at"`
	LastAt      time.Time `json:"last_at"`
	EventID     int64     `json:"event_id"` // the newest event among them
	Error       string    `json:"error"`    // one of their errors
}

const failureGroupsSQL = `
WITH g AS (
    SELECT r.job_kind, coalesce(r.error_fingerprint, '` + NoFingerprint + `') AS fingerprint, count(*) AS n,
           min(r.finished_at) AS first_at, max(r.finished_at) AS last_at, max(r.event_id) AS event_id, max(r.error) AS error
    FROM lumin.runs r
    WHERE r.state = 'failed'
      AND (cardinality($1::text[]) = 0 OR r.job_kind = ANY ($1))
      AND ($2::timestamptz IS NULL OR r.finished_at >= $2)
    GROUP BY 1, 2
)
SELECT job_kind, fingerprint, n, first_at, last_at, event_id, coalesce(error, '')
FROM g ORDER BY n DESC, job_kind, fingerprint LIMIT $3`

// FailureGroups groups failed runs by job type and error, the biggest group first:
// of these kinds (none: all), failed since then (nil: ever), at most limit groups.
func (s *Store) FailureGroups(ctx context.Context, kinds []string, since *time.Time, limit int) ([]FailureGroup, error) {
	rows, err := s.pool.Query(ctx, failureGroupsSQL, pgx.QueryExecModeCacheDescribe, nonNil(kinds), since, limit)
	if err != nil {
		return nil, fmt.Errorf("group failures: %w", err)
	}
	groups, err := pgx.CollectRows(rows, pgx.RowToStructByPos[FailureGroup])
	if err != nil {
		return nil, fmt.Errorf("group failures: %w", err)
	}
	return groups, nil
}
