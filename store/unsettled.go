package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// RunCount is how many runs of one job type are in one state.
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

// UnsettledRuns counts failed and pending runs by job type. Its duration grows with
// their number.
func (s *Store) UnsettledRuns(ctx context.Context) ([]RunCount, error) {
	rows, err := s.pool.Query(ctx, unsettledSQL, pgx.QueryExecModeCacheDescribe)
	if err != nil {
		return nil, fmt.Errorf("count unsettled runs: %w", err)
	}
	counts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[RunCount])
	if err != nil {
		return nil, fmt.Errorf("count unsettled runs: %w", err)
	}
	return counts, nil
}
