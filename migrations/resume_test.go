package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/golang-migrate/migrate/v4/database"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/measure"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
)

// trapSQL arms a trap that ends the connection at the n-th command that
// creates, changes or drops an object. A sequence counts the commands, because
// a rollback does not reset it.
const trapSQL = `
CREATE SCHEMA trap;
CREATE SEQUENCE trap.commands;
CREATE TABLE trap.moment (n bigint);
INSERT INTO trap.moment VALUES (0);
GRANT ALL ON SCHEMA trap TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA trap TO PUBLIC;
GRANT ALL ON ALL SEQUENCES IN SCHEMA trap TO PUBLIC;
CREATE FUNCTION trap.spring() RETURNS event_trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE command bigint := nextval('trap.commands');
BEGIN
    IF command = (SELECT n FROM trap.moment) THEN
        PERFORM pg_terminate_backend(pg_backend_pid());
    END IF;
END
$$;
CREATE EVENT TRIGGER trap ON ddl_command_end EXECUTE FUNCTION trap.spring();`

// armTrap makes the n-th command from now end its connection. 0 disarms the
// trap.
func armTrap(tb testing.TB, admin *pgxpool.Pool, n int) {
	tb.Helper()
	pgtest.Exec(tb, admin, fmt.Sprintf(`UPDATE trap.moment SET n = %d; SELECT setval('trap.commands', 1, false)`, n))
}

// If a migration is killed at any command, no mark is left, and the next up or
// down continues. This holds for our migrations, River's and the triggers.
// LUMIN_TEST_MIGRATION_KILLS is the number of commands in each direction; more than
// there are means all.
func TestKilledAtEachStatement(t *testing.T) {
	t.Parallel()
	address := pgtest.NewEmpty(t)
	admin := pgtest.Pool(t, pgtest.AdminURL(t, address))
	pgtest.Exec(t, admin, trapSQL)
	count := func(migrate func()) int {
		armTrap(t, admin, 0)
		migrate()
		return pgtest.Value[int](t, admin, `SELECT last_value FROM trap.commands`)
	}
	ups := count(func() { up(t, address) })
	downs := count(func() { down(t, address, len(versions(t))) })
	if ups < 80 || downs < 40 {
		t.Fatalf("the trap counted %d and %d commands", ups, downs)
	}
	most := max(ups, downs)
	moments := min(most, measure.Size(t, "LUMIN_TEST_MIGRATION_KILLS", most/11))
	unmarked := 0
	for n := range moments {
		moment := 1 + n*ups/moments
		armTrap(t, admin, moment)
		if err := migrations.Up(t.Context(), address); err == nil {
			t.Fatalf("command %d: up was not killed", moment)
		}
		if s := status(t, admin); s.Dirty || s.Current() {
			t.Fatalf("command %d: %+v", moment, s)
		}
		armTrap(t, admin, 0)
		up(t, address)
		checkTriggers(t, admin)
		moment = 1 + n*downs/moments
		armTrap(t, admin, moment)
		if err := migrations.Down(t.Context(), address, len(versions(t))); err == nil {
			t.Fatalf("command %d: down was not killed", moment)
		}
		if s := status(t, admin); s.Dirty {
			t.Fatalf("command %d of down: %+v", moment, s)
		}
		armTrap(t, admin, 0)
		down(t, address, max(1, len(slices.DeleteFunc(versions(t), func(v int) bool { return v > status(t, admin).Version }))))
		if schemaExists(t, admin) {
			t.Fatalf("command %d: schema lumin is still there", moment)
		}
		unmarked += 2
	}
	measure.Log(t, "faults", float64(2*moments), "")
	measure.Log(t, "commands of all migrations, up", float64(ups), "")
	measure.Log(t, "commands of all migrations, down", float64(downs), "")
	measure.Log(t, "kills that left no mark, and after which the next migration continued", float64(unmarked), "")
}

// Programs up to version 4 marked the version table before each migration. A
// killed program left that mark, with the migration either complete or rolled
// back.
func TestMarkOfAnOlderProgram(t *testing.T) {
	t.Parallel()
	address := pgtest.New(t)
	pool := pgtest.Pool(t, address)
	mark := func(version int) {
		t.Helper()
		pgtest.Exec(t, pool, fmt.Sprintf(`DELETE FROM lumin.schema_migrations; INSERT INTO lumin.schema_migrations VALUES (%d, true)`, version))
		if s := status(t, pool); !s.Dirty || s.Current() || !strings.Contains(s.String(), `"migrate up"`) {
			t.Fatalf("%+v: %s", s, s)
		}
	}
	all := versions(t)
	pgtest.Exec(t, pool, `INSERT INTO lumin.erasures (subject, signature_request_ids, event_ids, last_event_id, reason) VALUES ('email', '{}', '{}', 0, 'kept')`)
	for _, marked := range []int{3, 4} { // down to 3 or up to 4, while 4 is in effect
		down(t, address, len(all)-4)
		mark(marked)
		up(t, address)
	}
	mark(all[len(all)-1])
	up(t, address)
	if n := pgtest.Value[int](t, pool, `SELECT count(*) FROM lumin.erasures`); n != 1 {
		t.Errorf("%d of 1 rows remain", n)
	}
	for there := 3; there >= 0; there-- {
		for _, marked := range []int{there, there + 1} { // down to the version, or up from it
			if down(t, address, len(all)-there); there == 0 {
				pgtest.Exec(t, pool, `CREATE SCHEMA lumin; CREATE TABLE lumin.schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)`)
			}
			if marked == 0 {
				marked = -1 // down to no migration
			}
			mark(marked)
			var steps []string
			err := migrations.UpReporting(t.Context(), address, func(s migrations.Step) { steps = append(steps, s.Name) })
			if err != nil {
				t.Fatalf("version %d, marked %d: %v", there, marked, err)
			}
			if want := fmt.Sprintf("complete, at version %d", there); !strings.Contains(steps[0], want) {
				t.Errorf("version %d, marked %d: %q", there, marked, steps)
			}
			checkTriggers(t, pool)
			pgtest.Exec(t, pool, `TRUNCATE lumin.runs, lumin.river_job, lumin.replays`)
		}
	}
	mark(2) // the schema is at the latest version, so no migration of ours left this mark
	for name, err := range map[string]error{
		"up": migrations.Up(t.Context(), address), "down": migrations.Down(t.Context(), address, 1),
	} {
		if !errors.Is(err, migrations.ErrDirty) || !strings.Contains(err.Error(), "UPDATE lumin.schema_migrations") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The server may still be executing the migration of a killed program. Up waits
// for its result.
func TestMarkWhileMigrationRuns(t *testing.T) {
	t.Parallel()
	address := pgtest.New(t)
	pool := pgtest.Pool(t, address)
	down(t, address, len(versions(t))-3)
	older, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Do what golang-migrate 4 does until the program is killed.
	lock := pgtest.Value[string](t, pool, `SELECT current_database()`)
	id := lockOfGolangMigrate(t, lock)
	for _, sql := range []string{
		`UPDATE lumin.schema_migrations SET version = 4, dirty = true`,
		`SELECT pg_advisory_lock(` + id + `)`, `BEGIN`, sqlFile(t, "0004_job_types.up.sql"),
	} {
		if _, err := older.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, 1)
	go func() { done <- migrations.Up(t.Context(), address) }()
	admin := pgtest.Pool(t, pgtest.AdminURL(t, address))
	awaitEither(t, func() bool {
		return pgtest.Value[bool](t, admin, `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`)
	}, done)
	if _, err := older.Exec(t.Context(), `COMMIT`); err != nil {
		t.Fatal(err)
	}
	if err := older.Hijack().Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	checkTriggers(t, pool)
}

// A migration that the database refuses changes nothing, and its error says
// why.
func TestRefusedMigration(t *testing.T) {
	t.Parallel()
	address := pgtest.NewEmpty(t)
	pool := pgtest.Pool(t, address)
	pgtest.Exec(t, pool, `CREATE SCHEMA lumin; CREATE TABLE lumin.replays (theirs int)`)
	err := migrations.Up(t.Context(), address)
	if err == nil || !strings.Contains(err.Error(), `0002_replays, which changed nothing`) || !strings.Contains(err.Error(), `"replays" already exists`) || strings.Contains(err.Error(), "COMMENT ON") {
		t.Errorf("up: %v", err)
	}
	if s := status(t, pool); s.Version != 1 || s.Dirty {
		t.Errorf("up: %+v", s)
	}
	pgtest.Exec(t, pool, `DROP TABLE lumin.replays`)
	up(t, address)

	// Down also fails if another application's view uses one of our tables.
	pgtest.Exec(t, pool, `CREATE SCHEMA theirs; CREATE VIEW theirs.v AS SELECT id FROM lumin.events`)
	if err := migrations.Down(t.Context(), address, len(versions(t))); err == nil || !strings.Contains(err.Error(), "0001_events_and_runs") {
		t.Errorf("down: %v", err)
	}
	up(t, address)
	checkTriggers(t, pool)
}

// A transaction that keeps a row locked delays a migration, but no delivery.
func TestMigrationWaitsWithoutBlockingOthers(t *testing.T) {
	t.Parallel()
	address := pgtest.New(t)
	pool := pgtest.Pool(t, address)
	down(t, address, len(versions(t))-4)
	holder, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := holder.Exec(t.Context(), `SELECT FROM lumin.runs, lumin.river_job FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	done, waits := make(chan error, 1), make(chan struct{})
	go func() {
		once := sync.OnceFunc(func() { close(waits) })
		done <- migrations.UpReporting(t.Context(), address, func(s migrations.Step) {
			if strings.HasSuffix(s.Name, "waits for an open transaction") {
				once()
			}
		})
	}()
	admin := pgtest.Pool(t, pgtest.AdminURL(t, address))
	for range 3 {
		awaitEither(t, func() bool {
			return pgtest.Value[bool](t, admin, `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'relation' AND NOT granted
				AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`)
		}, done)
		pgtest.Exec(t, pool, `SET lock_timeout = '5s'; INSERT INTO lumin.runs (event_key, job_kind, event_id) VALUES (gen_random_uuid(), 'book', 1)`)
	}
	select {
	case err := <-done:
		t.Fatal(err)
	case <-waits:
	}
	if err := holder.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if s := status(t, pool); !s.Current() {
		t.Errorf("%+v", s)
	}
}

func TestStepsAreReported(t *testing.T) {
	t.Parallel()
	address := pgtest.NewEmpty(t)
	var steps []string
	report := func(s migrations.Step) { steps = append(steps, s.Name) }
	if err := migrations.UpReporting(t.Context(), address, report); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"River 001", "River 002"} {
		if !strings.HasPrefix(steps[i], want) {
			t.Errorf("step %d is %q", i, steps[i])
		}
	}
	if got := len(steps) - len(versions(t)); steps[got-1] != "0001_events_and_runs" || steps[len(steps)-1] != "triggers and views" {
		t.Errorf("steps %q", steps)
	}
	steps = nil
	if err := migrations.UpReporting(t.Context(), address, report); err != nil || len(steps) > 0 {
		t.Errorf("nothing to do: %q, %v", steps, err)
	}
	if err := migrations.DownReporting(t.Context(), address, 1, report); err != nil || len(steps) != 2 || !strings.HasPrefix(steps[0], fmt.Sprintf("%04d_", migrations.Latest())) || steps[1] != "triggers and views" {
		t.Errorf("down: %q, %v", steps, err)
	}
}

func TestLosses(t *testing.T) {
	t.Parallel()
	address := pgtest.New(t)
	pool := pgtest.Pool(t, address)
	all := len(versions(t))
	losses := func(n int) string {
		t.Helper()
		found, err := migrations.Losses(t.Context(), address, n)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(found)
	}
	pgtest.Exec(t, pool, `INSERT INTO lumin.programs (id, host, pid, role, job_kinds) VALUES (gen_random_uuid(), 'h', 1, 'all', '{}')`)
	if got := losses(all); got != "[]" {
		t.Errorf("of an empty database: %s", got)
	}
	checkTriggers(t, pool) // a run, a failure, a replay order and two jobs
	pgtest.Exec(t, pool, `UPDATE lumin.runs SET error = 'x'; INSERT INTO lumin.signature_requests (signature_request_id, checked_at) VALUES ('a', now()), ('b', NULL)`)
	gone := len(slices.DeleteFunc(versions(t), func(v int) bool { return v < 9 }))
	if got := losses(gone); got != "[]" {
		t.Errorf("of what 0009 and later created: %s", got)
	}
	pgtest.Exec(t, pool, `UPDATE lumin.signature_requests SET gone_at = now() WHERE signature_request_id = 'a'; UPDATE lumin.runs SET again = 2`)
	if got := losses(gone); got != "[{lumin.signature_requests.gone_at 1}]" {
		t.Errorf("of 0009 and later: %s", got)
	}
	if got, want := losses(all-3), "[{lumin.runs.again 1} {lumin.signature_requests.checked_at 1} {lumin.signature_requests.gone_at 1}]"; !containsAll(got, want) {
		t.Errorf("of those above 3: %s, want %s", got, want)
	}
	if got := losses(all); got != "[{lumin.signature_requests 2} {lumin.failures 1} {lumin.runs 1} {lumin.replays 1} {lumin.river_job 2}]" {
		t.Errorf("of all: %s", got)
	}
	if s := status(t, pool); !s.Current() {
		t.Errorf("counting has changed the schema: %s", s)
	}
	if _, err := migrations.Losses(context.Background(), address+"&connect_timeout=x", 1); err == nil {
		t.Error("an invalid URL is accepted")
	}
}

// containsAll reports whether each {loss} of want is in got.
func containsAll(got, want string) bool {
	for _, loss := range strings.SplitAfter(strings.Trim(want, "[]"), "}") {
		if !strings.Contains(got, strings.TrimSpace(loss)) {
			return false
		}
	}
	return true
}

func sqlFile(tb testing.TB, name string) string {
	tb.Helper()
	text, err := os.ReadFile("sql/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// lockOfGolangMigrate returns the number of the lock that golang-migrate takes.
func lockOfGolangMigrate(tb testing.TB, databaseName string) string {
	tb.Helper()
	id, err := database.GenerateAdvisoryLockId(databaseName, migrations.Schema, "schema_migrations")
	if err != nil {
		tb.Fatal(err)
	}
	return id
}

// Losses parses down files, so it must recognize every statement that removes
// data.
func TestLossesUnderstandsDownFiles(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("sql/*.down.sql")
	if err != nil {
		t.Fatal(err)
	}
	drops := 0
	for _, name := range names {
		text := sqlFile(t, filepath.Base(name))
		drops += strings.Count(text, "DROP TABLE") + strings.Count(text, "DROP COLUMN")
		if strings.Contains(text, "TRUNCATE") || strings.Contains(text, "CASCADE") {
			t.Errorf("%s removes data that Losses does not count", name)
		}
	}
	if n := migrations.CountDrops(); n != drops {
		t.Errorf("%d tables and columns are dropped, but Losses counts %d", drops, n)
	}
}
