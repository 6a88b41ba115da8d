package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

// RunCount is the number of runs of one job type in one state.
type RunCount struct {
	Kind  string `json:"job_kind"`
	State string `json:"state"`
	Runs  int64  `json:"count"`
}

// unsettledSQL reads the two partial indexes, never the whole table. Job types
// without such runs get a count of 0.
const unsettledSQL = `
WITH n AS (
    SELECT r.job_kind, 'failed' AS state, count(*) AS n FROM lumin.runs r WHERE r.state = 'failed' GROUP BY 1
    UNION ALL
    SELECT r.job_kind, 'pending', count(*) FROM lumin.runs r WHERE r.state = 'pending' GROUP BY 1
)
SELECT job_kind, state, sum(n)::bigint
FROM (
    SELECT * FROM n
    UNION ALL
    SELECT t.kind, s, 0 FROM lumin.job_types t CROSS JOIN unnest(ARRAY['failed', 'pending']) s
) counted
GROUP BY 1, 2 ORDER BY 1, 2`

// UnsettledRuns counts failed and pending runs by job type. Its duration grows
// with their number.
func (s *Store) UnsettledRuns(ctx context.Context) ([]RunCount, error) {
	return query.Structs[RunCount](ctx, s.pool, "count unsettled runs", unsettledSQL, pgx.QueryExecModeCacheDescribe)
}

// RunSummary counts the runs of one job type in one state.
type RunSummary struct {
	Kind  string
	State string
	Runs  int64
	Error string // the error of one of the runs; empty if none has an error
}

// RunCounts counts runs by job type and state.
func (s *Store) RunCounts(ctx context.Context) ([]RunSummary, error) {
	return query.Structs[RunSummary](ctx, s.pool, "count runs",
		`SELECT job_kind, state, count(*), coalesce(max(error), '') FROM lumin.runs GROUP BY 1, 2 ORDER BY 1, 2`)
}

// OldestPending is how long the oldest pending run has been pending. It is 0 if
// no run is pending.
func (s *Store) OldestPending(ctx context.Context) (time.Duration, error) {
	var seconds float64
	err := s.pool.QueryRow(ctx, `
		SELECT coalesce(extract(epoch FROM now() - min(pending_since)), 0)::float8
		FROM lumin.runs WHERE state = 'pending'`).Scan(&seconds)
	if err != nil {
		return 0, fmt.Errorf("find the oldest pending run: %w", err)
	}
	return time.Duration(max(seconds, 0) * float64(time.Second)), nil
}
