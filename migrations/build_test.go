package migrations_test

import (
	"context"
	"regexp"
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

// A migration reads or changes a table without the lock of CREATE INDEX, for which
// every delivery waits.
func TestNoDeliveryWaitsForIndexes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		migration  int
		index      string // one of those that the migration creates
		hold, wait string // a lock, and the statement of the migration that waits for it
	}{
		{19, "events_list_idx", `SELECT FROM lumin.redeliveries FOR UPDATE`, "transactionid"},
		{28, "events_late_idx", `LOCK TABLE lumin.redeliveries IN SHARE UPDATE EXCLUSIVE MODE`, "relation"},
	} {
		t.Run(c.index, func(t *testing.T) {
			t.Parallel()
			address := pgtest.New(t)
			pool, admin := pgtest.Pool(t, address), pgtest.Pool(t, pgtest.AdminURL(t, address))
			down(t, address, len(versions(t))-slices.Index(versions(t), c.migration-1)-1)
			pgtest.Exec(t, pool, `INSERT INTO lumin.events (event_key, source, payload, payload_sha256, signature, key_id, received_at)
				VALUES (gen_random_uuid(), 'app:crm', '', '', '', 'k', now())`)
			pgtest.Exec(t, pool, `ALTER TABLE lumin.redeliveries DISABLE TRIGGER USER`)
			pgtest.Exec(t, pool, `INSERT INTO lumin.redeliveries (event_id, payload_sha256, differs, count, first_at, last_at)
				SELECT id, '', 'content', 1, now(), now() FROM lumin.events`)
			holder, err := pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = holder.Rollback(context.WithoutCancel(t.Context())) }()
			if _, err := holder.Exec(t.Context(), c.hold); err != nil {
				t.Fatal(err)
			}
			up := make(chan error, 1)
			go func() { up <- migrations.Up(t.Context(), address) }()
			var locked string
			awaitEither(t, func() bool {
				locked = pgtest.Value[string](t, admin, `
					SELECT coalesce((SELECT 'locks: ' || coalesce((SELECT string_agg(l.relation::regclass::text, ' ') FROM pg_locks l
					           WHERE l.pid = w.pid AND l.granted AND l.mode = 'ShareLock' AND l.locktype = 'relation'), 'none')
					FROM pg_locks w WHERE NOT w.granted AND w.locktype = $1 AND w.pid IN (
					    SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%' || $2 || '%') LIMIT 1), '')`, c.wait, c.index)
				return locked != ""
			}, up)
			if locked != "locks: none" {
				t.Errorf("while migration %d waits for a row: %q", c.migration, locked)
			}
			if err := holder.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-up; err != nil {
				t.Fatal(err)
			}
		})
	}
}

// In each migration the creation of indexes that are built before it comes last,
// because it locks the table until the migration ends.
func TestIndexesComeLast(t *testing.T) {
	t.Parallel()
	long := regexp.MustCompile(`(?im)^\s*(UPDATE|DELETE|INSERT|ALTER TABLE .*VALIDATE)\b.*`)
	for _, version := range versions(t) {
		text := migrations.UpSQL(version)
		if at := strings.Index(text, "INDEX IF NOT EXISTS"); at >= 0 {
			// The bodies of functions are not run.
			rest := regexp.MustCompile(`(?s)\$\$.*?\$\$`).ReplaceAllString(text[at:], "")
			if found := long.FindString(rest); found != "" {
				t.Errorf("migration %d locks a table for this statement: %s", version, found)
			}
		}
	}
}
