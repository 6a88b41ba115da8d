package migrations_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
)

// before0010 is the last version whose programs write "again" and not "rerun".
const before0010 = 9

// These are statements of programs from before migration 0010.
const (
	oldReplaySQL  = `UPDATE lumin.runs SET again = again + 1 WHERE job_kind = '%s'`
	oldArchiveSQL = `
INSERT INTO lumin.archived_files AS f (event_key, file_type, again, signature_request_id, bucket, object_key, sha256, size_bytes)
VALUES (md5('a')::uuid, 'agreement', %d, 'r', 's3://contracts', 'old', sha256(''), 0)
ON CONFLICT (event_key, file_type, again) DO UPDATE SET object_key = excluded.object_key WHERE f.archived_at IS NULL`
)

// These are statements of this program.
const (
	newReplaySQL  = `UPDATE lumin.runs SET rerun = rerun + 1 WHERE job_kind = '%s'`
	newArchiveSQL = `
INSERT INTO lumin.archived_files AS f (event_key, file_type, rerun, signature_request_id, bucket, object_key, sha256, size_bytes)
VALUES (md5('a')::uuid, 'agreement', %d, 'r', 's3://contracts', 'new', sha256(''), 0)
ON CONFLICT ON CONSTRAINT archived_files_pkey DO UPDATE SET object_key = excluded.object_key WHERE f.archived_at IS NULL`
)

// counts lists the runs and archived files with the given columns.
func counts(tb testing.TB, pool *pgxpool.Pool, columns string) string {
	tb.Helper()
	return pgtest.Value[string](tb, pool, `
		SELECT string_agg(line, ', ' ORDER BY line) FROM (
		    SELECT concat_ws(' ', job_kind, `+columns+`) AS line FROM lumin.runs
		    UNION ALL SELECT concat_ws(' ', file_type, `+columns+`, object_key) FROM lumin.archived_files) l`)
}

func wantCounts(tb testing.TB, pool *pgxpool.Pool, columns, want string) {
	tb.Helper()
	if got := counts(tb, pool, columns); got != want {
		tb.Errorf("%s is\n%s, want\n%s", columns, got, want)
	}
}

// upTo migrates an empty database to a version.
func upTo(tb testing.TB, version int) (address string, pool *pgxpool.Pool) {
	tb.Helper()
	address = pgtest.New(tb)
	later := slices.DeleteFunc(versions(tb), func(v int) bool { return v <= version })
	down(tb, address, len(later))
	return address, pgtest.Pool(tb, address)
}

func run(tb testing.TB, pool *pgxpool.Pool, kind, columns, values string) {
	tb.Helper()
	pgtest.Exec(tb, pool, fmt.Sprintf(`INSERT INTO lumin.runs (event_key, job_kind, event_id%s) VALUES (md5('a')::uuid, '%s', 1%s)`, columns, kind, values))
}

// Programs of both versions see each count that the other one writes. Neither
// makes a second row for a file that the other one has begun.
func TestOlderProgramKeepsAgain(t *testing.T) {
	t.Parallel()
	address, pool := upTo(t, before0010)
	run(t, pool, "book", "", "")
	run(t, pool, "mail", ", again", ", 2")
	pgtest.Exec(t, pool, fmt.Sprintf(oldArchiveSQL, 0))
	pgtest.Exec(t, pool, fmt.Sprintf(oldArchiveSQL, 3))
	up(t, address)
	wantCounts(t, pool, "again, rerun", "agreement 0 0 old, agreement 3 3 old, book 0 0, mail 2 2")

	for _, sql := range []string{oldReplaySQL, newReplaySQL, newReplaySQL, oldReplaySQL} {
		pgtest.Exec(t, pool, fmt.Sprintf(sql, "book"))
	}
	pgtest.Exec(t, pool, fmt.Sprintf(newReplaySQL, "mail"))
	run(t, pool, "post", "", "") // no program names the column
	pgtest.Exec(t, pool, fmt.Sprintf(newArchiveSQL, 0))
	pgtest.Exec(t, pool, fmt.Sprintf(oldArchiveSQL, 1))
	pgtest.Exec(t, pool, fmt.Sprintf(newArchiveSQL, 2))
	pgtest.Exec(t, pool, fmt.Sprintf(oldArchiveSQL, 2))
	pgtest.Exec(t, pool, fmt.Sprintf(newArchiveSQL, 4))
	wantCounts(t, pool, "again, rerun", "agreement 0 0 new, agreement 1 1 old, agreement 2 2 old, agreement 3 3 old, agreement 4 4 new, book 4 4, mail 3 3, post 0 0")

	// An update of other columns changes neither.
	pgtest.Exec(t, pool, `UPDATE lumin.runs SET state = 'succeeded', finished_at = now(); UPDATE lumin.archived_files SET archived_at = now()`)
	const all = "agreement 0 new, agreement 1 old, agreement 2 old, agreement 3 old, agreement 4 new, book 4, mail 3, post 0"
	wantCounts(t, pool, "rerun", all)

	down(t, address, migrations.Latest()-before0010)
	wantCounts(t, pool, "again", all)
	pgtest.Exec(t, pool, fmt.Sprintf(oldReplaySQL, "post"))
	up(t, address)
	wantCounts(t, pool, "rerun", strings.Replace(all, "post 0", "post 1", 1))
}

// An older program replays a run after the column was added and before its
// value was copied.
func TestReplayBetweenMigrationsOfRerun(t *testing.T) {
	t.Parallel()
	address, pool := upTo(t, before0010)
	run(t, pool, "book", ", again", ", 2")
	run(t, pool, "mail", ", again", ", 2")
	pgtest.Exec(t, pool, fmt.Sprintf(oldArchiveSQL, 2))
	pgtest.Exec(t, pool, sqlFile(t, "0010_rerun.up.sql"))
	wantCounts(t, pool, "again, rerun", "agreement 2 0 old, book 2 0, mail 2 0")
	pgtest.Exec(t, pool, fmt.Sprintf(oldReplaySQL, "book"))
	pgtest.Exec(t, pool, fmt.Sprintf(oldArchiveSQL, 3))
	pgtest.Exec(t, pool, sqlFile(t, "0011_rerun_values.up.sql"))
	wantCounts(t, pool, "again, rerun", "agreement 2 2 old, agreement 3 3 old, book 3 3, mail 2 2")
	pgtest.Exec(t, pool, `UPDATE lumin.schema_migrations SET version = 11`)
	down(t, address, 2)
	wantCounts(t, pool, "again", "agreement 2 old, agreement 3 old, book 3, mail 2")
}

// Copying the counts waits for a locked run, and blocks neither deliveries nor
// other runs while it waits.
func TestCopyOfRerunBlocksNoDelivery(t *testing.T) {
	t.Parallel()
	address, pool := upTo(t, before0010)
	run(t, pool, "book", ", again", ", 2")
	run(t, pool, "mail", "", "")
	pgtest.Exec(t, pool, sqlFile(t, "0010_rerun.up.sql"))
	pgtest.Exec(t, pool, `UPDATE lumin.schema_migrations SET version = 10`)
	holder, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Rollback(t.Context()) }()
	if _, err := holder.Exec(t.Context(), `SELECT FROM lumin.runs WHERE job_kind = 'book' FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- migrations.Up(t.Context(), address) }()
	awaitEither(t, func() bool {
		return pgtest.Value[bool](t, pool, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
			AND wait_event_type = 'Lock' AND query LIKE '%SET rerun = again%')`)
	}, done)
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(t.Context(), `SET lock_timeout = '10ms'; INSERT INTO lumin.runs (event_key, job_kind, event_id) VALUES (md5('b')::uuid, 'book', 2);
		UPDATE lumin.runs SET attempts = 1 WHERE job_kind = 'mail'`); err != nil {
		t.Error(err)
	}
	if err := holder.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := pgtest.Value[int](t, pool, `SELECT rerun FROM lumin.runs WHERE job_kind = 'book' AND event_id = 1`); n != 2 {
		t.Errorf("rerun is %d, want 2", n)
	}
}
