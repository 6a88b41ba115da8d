package migrations_test

import (
	"context"
	"slices"
	"testing"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
)

// Pending runs of older programs get the id of their live job. A run that a
// worker holds is left out and delays nothing.
func TestJobIDs(t *testing.T) {
	t.Parallel()
	address, pool := upTo(t, 13)
	pgtest.Exec(t, pool, `
		INSERT INTO lumin.runs (event_key, job_kind, event_id, replay_id, state, finished_at) VALUES
		    (md5('a')::uuid, 'queued', 1, 0, 'pending', NULL),
		    (md5('a')::uuid, 'replayed', 1, 2, 'pending', NULL),
		    (md5('a')::uuid, 'held', 1, 0, 'pending', NULL),
		    (md5('a')::uuid, 'gone', 1, 0, 'pending', NULL),
		    (md5('a')::uuid, 'done', 1, 0, 'succeeded', now());
		INSERT INTO lumin.river_job (id, args, kind, max_attempts, state, finalized_at)
		SELECT id, jsonb_build_object('event_key', md5('a')::uuid, 'replay_id', replay), kind, 3, state::lumin.river_job_state,
		       CASE WHEN state = 'completed' THEN now() END
		FROM (VALUES (11, 'queued', 0, 'retryable'), (12, 'queued', 1, 'available'), (13, 'replayed', 0, 'available'), (14, 'replayed', 2, 'running'),
		             (15, 'held', 0, 'running'), (16, 'gone', 0, 'completed'), (17, 'done', 0, 'available')) j (id, kind, replay, state)`)
	holder, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := holder.Exec(t.Context(), `SELECT FROM lumin.runs WHERE job_kind = 'held' FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, pool, sqlFile(t, "0014_job_ids.up.sql"))
	const idsSQL = `SELECT string_agg(job_kind || ' ' || coalesce(job_id::text, '-'), ', ' ORDER BY job_kind) FROM lumin.runs`
	if got, want := pgtest.Value[string](t, pool, idsSQL), "done -, gone -, held -, queued 11, replayed 14"; got != want {
		t.Errorf("job ids are %q, want %q", got, want)
	}
	if err := holder.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	up(t, address)
	if got, want := pgtest.Value[string](t, pool, idsSQL), "done -, gone -, held 15, queued 11, replayed 14"; got != want {
		t.Errorf("after up, job ids are %q, want %q", got, want)
	}
}

// The indexes that no query needs are dropped, also after River's migrations
// ran again. A migration down creates them again.
func TestDroppedIndexes(t *testing.T) {
	t.Parallel()
	address := pgtest.New(t)
	pool := pgtest.Pool(t, address)
	const foundSQL = `SELECT count(*) FROM pg_indexes WHERE schemaname = 'lumin' AND indexname = ANY ($1)`
	dropped := []string{"river_job_args_index", "river_job_metadata_index"}
	want := func(when string, n int) {
		t.Helper()
		if got := pgtest.Value[int](t, pool, foundSQL, dropped); got != n {
			t.Errorf("%s: %d indexes, want %d", when, got, n)
		}
	}
	want("new database", 0)
	down(t, address, len(versions(t))-slices.Index(versions(t), 15))
	want("down", len(dropped))
	up(t, address)
	want("up", 0)
	down(t, address, len(versions(t)))
	if err := migrations.Up(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	want("all down and up", 0)
}
