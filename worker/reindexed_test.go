package worker_test

import (
	"slices"
	"testing"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/worker"
)

// River logs a warning each night for an index that does not exist.
func TestReindexedIndexesExist(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	there := pgtest.Value[[]string](t, pool, `SELECT array_agg(indexname::text) FROM pg_indexes WHERE schemaname = 'lumin'`)
	names := worker.Reindexed()
	if len(names) < 4 {
		t.Errorf("River rebuilds only %q", names)
	}
	for _, name := range names {
		if !slices.Contains(there, name) {
			t.Errorf("River rebuilds %s, which does not exist", name)
		}
	}
}
