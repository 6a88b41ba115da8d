package migrations_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
)

// Migration 0019 builds an index of events while deliveries go on, beside a
// transaction that stays open, another program that migrates and an index that a
// killed program has left. It gives conflicts their source.
func TestIndexesAreBuiltFirst(t *testing.T) {
	t.Parallel()
	address := pgtest.New(t)
	pool, admin := pgtest.Pool(t, address), pgtest.Pool(t, pgtest.AdminURL(t, address))
	down(t, address, len(versions(t))-slices.Index(versions(t), 18))
	const insertSQL = `INSERT INTO lumin.events (event_key, source, payload, payload_sha256, signature, key_id, received_at)
		VALUES (gen_random_uuid(), 'app:crm', '', '', '', 'k', now())`
	pgtest.Exec(t, pool, insertSQL)
	pgtest.Exec(t, pool, `INSERT INTO lumin.redeliveries (event_id, payload_sha256, differs, count, first_at, last_at)
		SELECT id, kind::bytea, kind, 1, now(), now() FROM lumin.events, unnest('{content,nothing}'::text[]) kind`)
	holder, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := holder.Exec(t.Context(), insertSQL); err != nil {
		t.Fatal(err)
	}
	leaveInvalidIndex(t, address)
	var steps []string
	programs := make(chan error, 2)
	go func() {
		programs <- migrations.UpReporting(t.Context(), address, func(s migrations.Step) { steps = append(steps, s.Name) })
	}()
	const buildingSQL = `SELECT EXISTS (SELECT FROM pg_stat_activity
		WHERE datname = current_database() AND query LIKE '% INDEX CONCURRENTLY %' AND wait_event_type = 'Lock')`
	awaitEither(t, func() bool { return pgtest.Value[bool](t, admin, buildingSQL) }, programs)
	go func() { programs <- migrations.Up(t.Context(), address) }()
	const waitingSQL = `SELECT EXISTS (SELECT FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%advisory_lock%')`
	awaitEither(t, func() bool { return pgtest.Value[bool](t, admin, waitingSQL) }, programs)
	pgtest.Exec(t, pool, `SET lock_timeout = '5s'; `+insertSQL)
	if err := holder.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range cap(programs) {
		if err := <-programs; err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Contains(steps, "index events_list_idx") || slices.Index(steps, "index events_list_idx") > slices.Index(steps, "0019_list_indexes") {
		t.Errorf("steps %q", steps)
	}
	if got := pgtest.Value[string](t, pool, `SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indexrelid = 'lumin.events_list_idx'::regclass AND indisvalid`); !strings.Contains(got, "(event_type, source, received_at NULLS FIRST, id)") {
		t.Errorf("index %q", got)
	}
	const sourcesSQL = `SELECT string_agg(concat_ws(' ', differs, source), ', ' ORDER BY differs, source) FROM lumin.redeliveries`
	if got, want := pgtest.Value[string](t, pool, sourcesSQL), "content app:crm, nothing"; got != want {
		t.Errorf("redeliveries %q, want %q", got, want)
	}
	// An older program does not write the source, and may find a conflict later.
	pgtest.Exec(t, pool, `UPDATE lumin.redeliveries SET differs = 'content' WHERE differs = 'nothing'`)
	if got, want := pgtest.Value[string](t, pool, sourcesSQL), "content app:crm, content app:crm"; got != want {
		t.Errorf("later %q, want %q", got, want)
	}
}

// leaveInvalidIndex gives up building an index, which an open transaction delays.
func leaveInvalidIndex(tb testing.TB, address string) {
	tb.Helper()
	conn := pgtest.Conn(tb, address)
	if _, err := conn.Exec(tb.Context(), `SET statement_timeout = '200ms'`); err != nil {
		tb.Fatal(err)
	}
	if _, err := conn.Exec(tb.Context(), `CREATE INDEX CONCURRENTLY events_list_idx ON lumin.events (id)`); err == nil {
		tb.Fatal("an index was built beside an open transaction")
	}
}
