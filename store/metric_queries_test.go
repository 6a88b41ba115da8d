package store_test

import (
	"testing"
	"time"

	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
)

// The queries behind the metrics read no large table: only entries of indexes
// that hold unfinished work, and sampled blocks.
func TestMetricQueriesReadNoLargeTable(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	storetest.Fill(t, s.Pool(), 1, 30_000)
	storetest.Exec(t, s.Pool(), `INSERT INTO lumin.job_types (kind, events, sources, transactional, queue) VALUES ('book', '{}', '{}', true, 'default'); ANALYZE`)
	conn, err := s.Pool().Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for name, q := range map[string]struct {
		sql  string
		args []any
	}{
		"oldest pending run": {store.OldestPendingSQL, nil},
		"pending runs":       {store.UnsettledSQL, []any{"pending"}},
		"failed runs":        {store.UnsettledSQL, []any{"failed"}},
		"sample of runs":     {store.SampleUnsettledSQL, []any{"failed", 1.0}},
		"queue depths":       {store.QueueDepthsSQL, []any{store.MaxQueueDepth}},
		"load":               {store.DatabaseLoadSQL, nil},
		"recovered events":   {store.RecoveredCountSQL, nil},
	} {
		plan := explain(t, conn.Conn(), q.sql, q.args...)
		if storetest.ReadsAll.MatchString(plan) {
			t.Errorf("%s reads a whole table:\n%s", name, plan)
		}
	}
}

// A count that takes too long becomes an estimate.
func TestUnsettledRunsAreEstimated(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	storetest.Fill(t, s.Pool(), 1, 30_000)
	count := func(exact time.Duration) map[string]int64 {
		counts, err := store.UnsettledRunsWithin(t.Context(), s, exact)
		if err != nil {
			t.Fatal(err)
		}
		runs := map[string]int64{}
		for _, c := range counts {
			runs[c.State] += c.Runs
		}
		return runs
	}
	exact, estimated := count(time.Minute), count(time.Nanosecond)
	if exact["pending"] != 600 || exact["failed"] != 3000 {
		t.Errorf("counted %v", exact)
	}
	for state, n := range exact {
		if e := estimated[state]; e < n/2 || e > 2*n {
			t.Errorf("%s: estimated %d, and there are %d", state, e, n)
		}
	}
}
