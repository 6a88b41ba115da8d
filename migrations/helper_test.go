package migrations_test

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/wait"
	"lumin-ingest/migrations"
)

// ourTables are our tables in the newest version, without River's.
const ourTables = "alert_sending alerts api_orders archived_files attempt_hours attempt_minutes audit_log backlog_minutes " +
	"delivery_hours delivery_minutes dismissals erasures events failures job_types other_kinds programs redeliveries replays runs schema_migrations signature_requests"

func up(tb testing.TB, url string) {
	tb.Helper()
	if err := migrations.Up(tb.Context(), url); err != nil {
		tb.Fatal(err)
	}
}

func down(tb testing.TB, url string, n int) {
	tb.Helper()
	if err := migrations.Down(tb.Context(), url, n); err != nil {
		tb.Fatal(err)
	}
}

// versions are the numbers of our migrations, in order.
func versions(tb testing.TB) (all []int) {
	tb.Helper()
	names, err := filepath.Glob("sql/*.up.sql")
	if err != nil {
		tb.Fatal(err)
	}
	for _, name := range names { // Glob has sorted them
		number, _, _ := strings.Cut(filepath.Base(name), "_")
		version, err := strconv.Atoi(number)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, version)
	}
	return all
}

func status(tb testing.TB, pool *pgxpool.Pool) migrations.Status {
	tb.Helper()
	s, err := migrations.ReadStatus(tb.Context(), pool)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// tables returns the tables of schema lumin except River's.
func tables(tb testing.TB, pool *pgxpool.Pool) string {
	tb.Helper()
	return pgtest.Value[string](tb, pool, `SELECT coalesce(string_agg(relname, ' ' ORDER BY relname), '') FROM pg_class
		WHERE relnamespace = to_regnamespace('lumin') AND relkind = 'r' AND relname NOT LIKE 'river%'`)
}

func schemaExists(tb testing.TB, pool *pgxpool.Pool) bool {
	tb.Helper()
	return pgtest.Value[bool](tb, pool, `SELECT to_regnamespace('lumin') IS NOT NULL`)
}

// rights lists the rights on all objects in schema lumin.
func rights(tb testing.TB, db pgtest.Database) string {
	tb.Helper()
	return pgtest.Value[string](tb, db, `
		SELECT string_agg(x.line, E'\n' ORDER BY x.line) FROM (
		    SELECT c.relname || ' ' || (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(c.relacl) a) FROM pg_class c WHERE c.relnamespace = 'lumin'::regnamespace
		    UNION ALL
		    SELECT c.relname || '.' || attname || ' ' || (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(attacl) a)
		    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE c.relnamespace = 'lumin'::regnamespace AND NOT attisdropped
		    UNION ALL
		    SELECT proname || ' ' || (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(proacl) a) FROM pg_proc WHERE pronamespace = 'lumin'::regnamespace
		    UNION ALL
		    SELECT nspname || ' ' || (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(nspacl) a) FROM pg_namespace WHERE nspname = 'lumin'
		) x (line)`)
}

// definitions lists the functions, views and triggers in schema lumin.
func definitions(tb testing.TB, db pgtest.Database) string {
	tb.Helper()
	return pgtest.Value[string](tb, db, `
		SELECT string_agg(x.line, E'\n' ORDER BY x.line) FROM (
		    SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'lumin'::regnamespace AND prokind = 'f'
		    UNION ALL
		    SELECT relname || ' ' || pg_get_viewdef(oid) FROM pg_class WHERE relnamespace = 'lumin'::regnamespace AND relkind = 'v'
		    UNION ALL
		    SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid WHERE c.relnamespace = 'lumin'::regnamespace AND NOT tgisinternal
		) x (line)`)
}

// checkTriggers checks that the triggers on both sides work.
func checkTriggers(tb testing.TB, pool *pgxpool.Pool) {
	tb.Helper()
	const key = "018a8ca2-3c4d-8e5f-a012-3456789abcde"
	pgtest.Exec(tb, pool, `INSERT INTO lumin.runs (event_key, job_kind, event_id) VALUES ('`+key+`', 'book', 1)`)
	pgtest.Exec(tb, pool, `INSERT INTO lumin.river_job (args, kind, max_attempts) VALUES ('{"event_key": "`+key+`", "replay_id": 0}', 'book', 1)`)
	pgtest.Exec(tb, pool, `UPDATE lumin.river_job SET state = 'discarded', finalized_at = now()`)
	if state := pgtest.Value[string](tb, pool, `SELECT state FROM lumin.runs`); state != "failed" {
		tb.Errorf("a run whose job has failed for good is %s", state)
	}
	if pgtest.Value[bool](tb, pool, `SELECT to_regclass('lumin.replays') IS NOT NULL`) {
		pgtest.Exec(tb, pool, `INSERT INTO lumin.replays (status) VALUES ('failed')`)
		if n := pgtest.Value[int](tb, pool, `SELECT count(*) FROM lumin.river_job WHERE kind = 'lumin_replay'`); n != 1 {
			tb.Errorf("an order has %d jobs", n)
		}
	}
}

// awaitEither waits until a condition holds, unless the work ends before.
func awaitEither(tb testing.TB, holds func() bool, done chan error) {
	tb.Helper()
	wait.Until(tb, "the condition holds or the work ends", func() bool {
		select {
		case err := <-done:
			done <- err
			return true
		default:
			return holds()
		}
	})
}
