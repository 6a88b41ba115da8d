package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
	"lumin-ingest/store/internal/estimate"
)

// RunCount is the number of runs of one job type in one state.
type RunCount struct {
	Kind  string `json:"job_kind"`
	State string `json:"state"`
	Runs  int64  `json:"count"`
}

// unsettledLimits bound each of the two counts of UnsettledRuns. A second is
// enough for about a million runs.
func unsettledLimits() estimate.Limits {
	return estimate.Limits{Exact: time.Second, Sample: 300 * time.Millisecond, Blocks: 256}
}

// A count reads one of the two partial indexes. A sample reads blocks of the table.
const (
	unsettledSQL       = `SELECT r.job_kind, r.state, count(*) FROM lumin.runs r WHERE r.state = $1 GROUP BY 1, 2`
	sampleUnsettledSQL = `SELECT r.job_kind, r.state, count(*) FROM lumin.runs r TABLESAMPLE SYSTEM ($2) WHERE r.state = $1 GROUP BY 1, 2`
)

// UnsettledRuns counts failed and pending runs by job type. Job types without such
// runs get a count of 0. A number that takes longer than a second to count is
// estimated from a sample.
func (s *Store) UnsettledRuns(ctx context.Context) ([]RunCount, error) {
	return s.unsettledRuns(ctx, unsettledLimits())
}

func (s *Store) unsettledRuns(ctx context.Context, limits estimate.Limits) ([]RunCount, error) {
	kinds, err := query.Column[string](ctx, s.pool, "count unsettled runs", `SELECT kind FROM lumin.job_types`)
	if err != nil {
		return nil, err
	}
	runs := map[RunCount]int64{} // by kind and state
	for _, state := range []string{"failed", "pending"} {
		for _, kind := range kinds {
			runs[RunCount{Kind: kind, State: state}] = 0
		}
		if err := s.countUnsettled(ctx, limits, state, runs); err != nil {
			return nil, err
		}
	}
	counts := make([]RunCount, 0, len(runs))
	for of, n := range runs {
		counts = append(counts, RunCount{of.Kind, of.State, n})
	}
	slices.SortFunc(counts, func(a, b RunCount) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.State, b.State))
	})
	return counts, nil
}

// countUnsettled adds the number of runs in one state to counts.
func (s *Store) countUnsettled(ctx context.Context, limits estimate.Limits, state string, counts map[RunCount]int64) error {
	parts, coverage, err := estimate.Count(ctx, s.pool, limits, "lumin.runs", func(ctx context.Context, tx pgx.Tx, percent float64) ([]RunCount, error) {
		if percent >= 100 {
			return query.Structs[RunCount](ctx, tx, "count unsettled runs", unsettledSQL, pgx.QueryExecModeCacheDescribe, state)
		}
		return query.Structs[RunCount](ctx, tx, "count unsettled runs", sampleUnsettledSQL, pgx.QueryExecModeCacheDescribe, state, percent)
	})
	if err != nil {
		return fmt.Errorf("count unsettled runs: %w", err)
	}
	for _, part := range parts {
		for _, n := range part {
			counts[RunCount{Kind: n.Kind, State: n.State}] += coverage.Scale(n.Runs)
		}
	}
	return nil
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

const oldestPendingSQL = `
SELECT coalesce(extract(epoch FROM now() - min(pending_since)), 0)::float8
FROM lumin.runs WHERE state = 'pending'`

// OldestPending is how long the oldest pending run has been pending. It is 0 if
// no run is pending.
func (s *Store) OldestPending(ctx context.Context) (time.Duration, error) {
	var seconds float64
	err := s.pool.QueryRow(ctx, oldestPendingSQL).Scan(&seconds)
	if err != nil {
		return 0, fmt.Errorf("find the oldest pending run: %w", err)
	}
	return time.Duration(max(seconds, 0) * float64(time.Second)), nil
}
