package worker_test

import (
	"slices"
	"testing"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
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

// A program that does not own the indexes leaves them as they are. Any other
// failure is reported.
func TestReindexWithoutOwnership(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	pgtest.UseRoles(t, url)
	owner, other := pgtest.Pool(t, url), pgtest.Pool(t, pgtest.Login(t, url, migrations.Worker))
	file := func() uint32 {
		return pgtest.Value[uint32](t, owner, `SELECT pg_relation_filenode('lumin.river_job_kind')`)
	}
	before := file()
	if err := worker.Reindex(t.Context(), other, "river_job_kind"); err != nil || file() != before {
		t.Errorf("another role: %v, file %d, was %d", err, file(), before)
	}
	if err := worker.Reindex(t.Context(), owner, "river_job_kind"); err != nil || file() == before {
		t.Errorf("the owner: %v, file %d", err, file())
	}
	if err := worker.Reindex(t.Context(), other, "no_such_index"); err == nil {
		t.Error("an index that does not exist: no error")
	}
}
