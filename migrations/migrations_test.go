package migrations_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/wait"
	"lumin-ingest/migrations"
)

// ourTables are our tables in the newest version, without River's.
const ourTables = "archived_files dismissals erasures events failures job_types other_kinds programs redeliveries replays runs schema_migrations signature_requests"

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
	for _, name := range names { // which Glob sorts
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

func schemaThere(tb testing.TB, pool *pgxpool.Pool) bool {
	tb.Helper()
	return pgtest.Value[bool](tb, pool, `SELECT to_regnamespace('lumin') IS NOT NULL`)
}

// works checks that the triggers on both sides work.
func works(tb testing.TB, pool *pgxpool.Pool) {
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

func TestUpDownUp(t *testing.T) {
	t.Parallel()
	url := pgtest.NewEmpty(t)
	pool := pgtest.Pool(t, url)
	if s := status(t, pool); s != (migrations.Status{Latest: migrations.Latest()}) || s.Current() || !strings.Contains(s.String(), "not migrated") {
		t.Errorf("before: %+v, %s", s, s)
	}
	down(t, url, 1) // nothing there, nothing to do
	for range 2 {
		up(t, url)
		up(t, url)
		if s := status(t, pool); !s.Current() || s.Version != migrations.Latest() || s.River == 0 || !strings.Contains(s.String(), "up to date") {
			t.Errorf("up: %+v, %s", s, s)
		}
		if got := tables(t, pool); got != ourTables {
			t.Errorf("up: tables %s", got)
		}
		down(t, url, len(versions(t)))
		if schemaThere(t, pool) {
			t.Error("down: schema lumin is still there")
		}
		if s := status(t, pool); s != (migrations.Status{Latest: migrations.Latest()}) {
			t.Errorf("down: %+v", s)
		}
	}
	up(t, url)
	works(t, pool)
	if n := pgtest.Value[int](t, pool, `SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace('public')`); n != 0 {
		t.Errorf("%d objects in schema public", n)
	}
}

func TestDownInSteps(t *testing.T) {
	t.Parallel()
	url := pgtest.NewEmpty(t)
	pool := pgtest.Pool(t, url)
	up(t, url)
	for _, n := range []int{0, -1, len(versions(t)) + 1} {
		if err := migrations.Down(t.Context(), url, n); err == nil {
			t.Errorf("down %d works", n)
		}
	}
	if s := status(t, pool); !s.Current() {
		t.Errorf("after refusals: %s", s)
	}
	applied := versions(t)
	for i := len(applied) - 2; i >= 0; i-- {
		down(t, url, 1)
		s := status(t, pool)
		if version := applied[i]; s.Version != version || s.Dirty || s.Current() || !s.Attached || !strings.Contains(s.String(), fmt.Sprintf("version %d of %d", version, migrations.Latest())) {
			t.Errorf("%+v: %s", s, s)
		}
	}
	works(t, pool) // what is left of it
	up(t, url)
	if s := status(t, pool); !s.Current() {
		t.Errorf("up again: %s", s)
	}
	for range applied {
		down(t, url, 1)
	}
	if schemaThere(t, pool) {
		t.Error("schema lumin is still there")
	}
}

func TestUpAtOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.NewEmpty(t)
	var programs sync.WaitGroup
	for range 8 {
		programs.Go(func() {
			if err := migrations.Up(t.Context(), url); err != nil {
				t.Error(err)
			}
		})
	}
	programs.Wait()
	pool := pgtest.Pool(t, url)
	if s := status(t, pool); !s.Current() {
		t.Error(s)
	}
	works(t, pool)
}

// The database may belong to another application, with any objects and any
// settings.
func TestOtherApplication(t *testing.T) {
	t.Parallel()
	for _, path := range []string{`''`, `nowhere`, `theirs`, `theirs, pg_catalog`} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			address := pgtest.NewEmpty(t)
			admin := pgtest.Pool(t, pgtest.AdminURL(t, address))
			owner := pgtest.Pool(t, address)
			pgtest.Exec(t, admin, `GRANT ALL ON SCHEMA public TO PUBLIC`)
			pgtest.Exec(t, owner, `
				CREATE TABLE public.schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL);
				INSERT INTO public.schema_migrations VALUES (20240101, true);
				CREATE SCHEMA theirs;
				CREATE TABLE theirs.events (id int);
				CREATE TABLE theirs.runs (id int);
				CREATE TABLE theirs.schema_migrations (version bigint, dirty boolean);
				INSERT INTO theirs.schema_migrations VALUES (7, true);
				CREATE FUNCTION theirs.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT 'epoch'::timestamptz $$`)
			river(t, owner)
			pgtest.Exec(t, owner, `INSERT INTO public.river_job (args, kind, max_attempts) VALUES ('{"event_key": "x", "replay_id": 1}', 'theirs', 1)`)
			pgtest.Exec(t, admin, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = `+strings.ReplaceAll(path, "'", "''")+`', current_database()); END $$`)

			before := contents(t, admin)
			up(t, address)
			up(t, address)
			pool := pgtest.Pool(t, address) // with that search_path
			works(t, pool)
			if s := status(t, pool); !s.Current() {
				t.Error(s)
			}
			if after := contents(t, admin); after != before {
				t.Errorf("up changed the other application from\n%s\nto\n%s", before, after)
			}
			pgtest.Exec(t, pool, `UPDATE public.river_job SET state = 'discarded', finalized_at = now()`)
			pgtest.Exec(t, pool, `UPDATE public.river_job SET state = 'available', finalized_at = NULL`)
			if at := pgtest.Value[time.Time](t, pool, `SELECT max(created_at) FROM lumin.runs`); time.Since(at) > time.Hour {
				t.Errorf("a run was created at %s: from another application's now()", at)
			}
			down(t, address, len(versions(t)))
			if after := contents(t, admin); after != before {
				t.Errorf("down changed the other application from\n%s\nto\n%s", before, after)
			}
			if schemaThere(t, pool) {
				t.Error("schema lumin is still there")
			}
		})
	}
}

// river installs another application's River in schema public.
func river(tb testing.TB, pool *pgxpool.Pool) {
	tb.Helper()
	config := pool.Config()
	config.ConnConfig.RuntimeParams["search_path"] = "public"
	theirs, err := pgxpool.NewWithConfig(tb.Context(), config)
	if err != nil {
		tb.Fatal(err)
	}
	defer theirs.Close()
	m, err := rivermigrate.New(riverpgxv5.New(theirs), &rivermigrate.Config{Schema: "public"})
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := m.Migrate(tb.Context(), rivermigrate.DirectionUp, nil); err != nil {
		tb.Fatal(err)
	}
}

// contents describes everything outside our schema, including the rows of
// tables.
func contents(tb testing.TB, pool *pgxpool.Pool) string {
	tb.Helper()
	list := pgtest.Value[string](tb, pool, `
		SELECT string_agg(line, E'\n' ORDER BY line) FROM (
		    SELECT n.nspname || '.' || c.relname || ' ' || c.relkind::text || ' ' ||
		        (SELECT coalesce(string_agg(a.attname || ' ' || a.atttypid, ','), '') FROM pg_attribute a WHERE a.attrelid = c.oid) AS line
		    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		    WHERE n.nspname IN ('public', 'theirs')
		    UNION ALL SELECT 'function ' || oid || pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace::regnamespace::text IN ('public', 'theirs')
		    UNION ALL SELECT 'trigger ' || pg_get_triggerdef(oid) FROM pg_trigger
		        WHERE tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace::regnamespace::text IN ('public', 'theirs'))
		    UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\_%' AND nspname <> 'lumin'
		    UNION ALL SELECT query_to_xml('SELECT * FROM ' || t, true, false, '')::text
		        FROM unnest(ARRAY['public.schema_migrations', 'theirs.schema_migrations', 'public.river_job', 'public.river_migration']) t
		) l`)
	return fmt.Sprintf("%x\n%s", sha256.Sum256([]byte(list)), list)
}

// role creates a role for one test that may only log in. It returns the role
// and the URL of the database for it.
func role(tb testing.TB, address string) (name, itsURL string) {
	tb.Helper()
	admin := pgtest.Pool(tb, pgtest.AdminURL(tb, address))
	name = fmt.Sprintf("role_%x", sha256.Sum256([]byte(address)))[:30]
	pgtest.Exec(tb, admin, `CREATE ROLE `+name+` LOGIN PASSWORD 'secret'`)
	tb.Cleanup(func() {
		for _, sql := range []string{`DROP OWNED BY ` + name + ` CASCADE`, `DROP ROLE ` + name} {
			if _, err := admin.Exec(context.WithoutCancel(tb.Context()), sql); err != nil {
				tb.Error(err)
			}
		}
	})
	parsed, err := url.Parse(address)
	if err != nil {
		tb.Fatal(err)
	}
	parsed.User = url.UserPassword(name, "secret")
	return name, parsed.String()
}

func TestRoleWithoutSchemaPublic(t *testing.T) {
	t.Parallel()
	address := pgtest.NewEmpty(t)
	admin := pgtest.Pool(t, pgtest.AdminURL(t, address))
	name, itsURL := role(t, address)
	pgtest.Exec(t, admin, `REVOKE ALL ON SCHEMA public FROM PUBLIC`)
	pgtest.Exec(t, admin, `DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO `+name+`', current_database()); END $$`)
	up(t, itsURL)
	pool := pgtest.Pool(t, itsURL)
	works(t, pool)
	down(t, itsURL, len(versions(t)))
	if schemaThere(t, pool) {
		t.Error("schema lumin is still there")
	}
}

// If the role may not create the schema, an administrator creates it.
func TestRoleWithoutDatabase(t *testing.T) {
	t.Parallel()
	for how, sql := range map[string]string{
		"owner":   `CREATE SCHEMA lumin AUTHORIZATION %s`,
		"granted": `CREATE SCHEMA lumin; GRANT ALL ON SCHEMA lumin TO %s`,
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			address := pgtest.NewEmpty(t)
			admin := pgtest.Pool(t, pgtest.AdminURL(t, address))
			name, itsURL := role(t, address)
			err := migrations.Up(t.Context(), itsURL)
			if err == nil || !strings.Contains(err.Error(), "CREATE SCHEMA lumin AUTHORIZATION") {
				t.Errorf("without a schema: %v", err)
			}
			pgtest.Exec(t, admin, fmt.Sprintf(sql, name))
			for range 2 { // it is there for the next time, too
				up(t, itsURL)
				down(t, itsURL, len(versions(t)))
				if n := pgtest.Value[int](t, admin, `SELECT count(*) FROM pg_class WHERE relnamespace = 'lumin'::regnamespace`); n != 0 {
					t.Errorf("%d objects are left in the schema", n)
				}
			}
			up(t, itsURL)
			works(t, pgtest.Pool(t, itsURL))
		})
	}
}

func TestForeignObjectSurvivesDown(t *testing.T) {
	t.Parallel()
	for kind, sql := range map[string]string{
		"table":     `CREATE TABLE lumin.theirs (id int)`,
		"function":  `CREATE FUNCTION lumin.theirs() RETURNS int LANGUAGE sql AS 'SELECT 1'`,
		"type":      `CREATE TYPE lumin.theirs AS ENUM ('a')`,
		"collation": `CREATE COLLATION lumin.theirs (locale = 'C')`,
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			address := pgtest.New(t)
			pool := pgtest.Pool(t, address)
			pgtest.Exec(t, pool, sql)
			down(t, address, len(versions(t)))
			if !schemaThere(t, pool) {
				t.Fatal("the other application's object was removed with the schema")
			}
			if n := pgtest.Value[int](t, pool, `
				SELECT count(*) FROM pg_class WHERE relnamespace = 'lumin'::regnamespace AND relname <> 'theirs'`); n != 0 {
				t.Errorf("%d of our objects are left", n)
			}
			up(t, address)
			works(t, pool)
		})
	}
}

func TestNewerSchema(t *testing.T) {
	t.Parallel()
	address := pgtest.New(t)
	pool := pgtest.Pool(t, address)
	newer := migrations.Latest() + 3
	pgtest.Exec(t, pool, fmt.Sprintf(`UPDATE lumin.schema_migrations SET version = %d`, newer))
	pgtest.Exec(t, pool, `DROP TABLE lumin.replays`) // by that newer version
	up(t, address)
	if s := status(t, pool); s.Version != newer || !s.Current() || !strings.Contains(s.String(), "newer than this program") {
		t.Errorf("%+v: %s", s, s)
	}
	if pgtest.Value[bool](t, pool, `SELECT to_regclass('lumin.replays') IS NOT NULL`) {
		t.Error("up has changed a newer schema")
	}
	err := migrations.Down(t.Context(), address, 1)
	if err == nil || !strings.Contains(err.Error(), "newer program") {
		t.Errorf("down: %v", err)
	}
	if s := status(t, pool); s.Version != newer || s.Dirty || !s.Attached {
		t.Errorf("down has changed a newer schema: %+v", s)
	}
}

// A program that was killed between our migrations and the triggers leaves a
// schema that looks complete but is not.
func TestMissingTriggers(t *testing.T) {
	t.Parallel()
	address := pgtest.New(t)
	pool := pgtest.Pool(t, address)
	pgtest.Exec(t, pool, `DROP TRIGGER lumin_job_finalized ON lumin.river_job; DROP TRIGGER lumin_replay_ordered ON lumin.replays`)
	if s := status(t, pool); s.Current() || !strings.Contains(s.String(), "triggers are missing") {
		t.Errorf("%+v: %s", s, s)
	}
	up(t, address)
	works(t, pool)
}

// Down continues where an earlier one was interrupted.
func TestDownCutShort(t *testing.T) {
	t.Parallel()
	address := pgtest.New(t)
	pool := pgtest.Pool(t, address)
	pgtest.Exec(t, pool, `CREATE SCHEMA theirs; CREATE VIEW theirs.v AS SELECT id FROM lumin.river_job`)
	if err := migrations.Down(t.Context(), address, len(versions(t))); err == nil {
		t.Error("River's tables were removed although a view uses them")
	}
	if s := status(t, pool); s.Version != 0 || s.River == 0 || s.Dirty {
		t.Errorf("cut short: %+v", s)
	}
	pgtest.Exec(t, pool, `DROP VIEW theirs.v`)
	down(t, address, 1)
	if schemaThere(t, pool) {
		t.Error("schema lumin is still there")
	}

	// Interrupt it between River's tables and the version table.
	up(t, address)
	down(t, address, len(versions(t)))
	pgtest.Exec(t, pool, `CREATE SCHEMA lumin; CREATE TABLE lumin.schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)`)
	down(t, address, 1)
	if schemaThere(t, pool) {
		t.Error("schema lumin is still there after the version table")
	}
}

// Settings for other kinds of queries do not affect migrations, nor do pool
// settings in the URL.
func TestSettingsOfRoleAndURL(t *testing.T) {
	t.Parallel()
	address := pgtest.NewEmpty(t)
	admin := pgtest.Pool(t, pgtest.AdminURL(t, address))
	pgtest.Exec(t, admin, `DO $$ BEGIN
		EXECUTE format('ALTER DATABASE %I SET statement_timeout = ''50ms''', current_database());
		EXECUTE format('ALTER DATABASE %I SET lock_timeout = ''50ms''', current_database());
		EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = ''serializable''', current_database()); END $$`)
	blocker, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer blocker.Close(context.WithoutCancel(t.Context()))
	if _, err := blocker.Exec(t.Context(), `SELECT pg_advisory_lock(x'6c756d696e'::bigint)`); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- migrations.Up(t.Context(), address+"&pool_max_conns=3&pool_max_conn_lifetime=1h") }()
	waits := func() bool {
		return pgtest.Value[bool](t, admin, `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`)
	}
	awaitEither(t, waits, done)
	if _, err := admin.Exec(t.Context(), `SELECT pg_sleep(0.2)`); err != nil { // several times the limits
		t.Fatal(err)
	}
	if err := blocker.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	works(t, admin)
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

// Databases that are up to date get a change of attach.sql only through a
// numbered migration, which may be empty. To change attach.sql, add a migration
// and update both constants here. A change of comments needs only the new sum.
func TestAttachComesWithMigration(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("attach.sql")
	if err != nil {
		t.Fatal(err)
	}
	const latest, sum = 12, "290adbabda604876"
	if got := fmt.Sprintf("%.8x", sha256.Sum256(text)); migrations.Latest() != latest || got != sum {
		t.Errorf("attach.sql is %s at migration %d; this test expects %s at %d", got, migrations.Latest(), sum, latest)
	}
}

func TestUpRefusesAnEncodingThatCannotHoldEveryText(t *testing.T) {
	t.Parallel()
	admin := pgtest.AdminURL(t, pgtest.NewEmpty(t))
	pool := pgtest.Pool(t, admin)
	name := fmt.Sprintf("ascii_%d", time.Now().UnixNano())
	pgtest.Exec(t, pool, `CREATE DATABASE `+name+` ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0`)
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), admin)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background())
		if _, err := conn.Exec(context.Background(), `DROP DATABASE `+name+` WITH (FORCE)`); err != nil {
			t.Error(err)
		}
	})
	address, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	address.Path = "/" + name
	if err := migrations.Up(t.Context(), address.String()); err == nil || !strings.Contains(err.Error(), "ENCODING 'UTF8'") {
		t.Errorf("error %v", err)
	}
}
