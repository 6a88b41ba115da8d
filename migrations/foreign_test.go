package migrations_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
)

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
			checkTriggers(t, pool)
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
			if schemaExists(t, pool) {
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
	checkTriggers(t, pool)
	down(t, itsURL, len(versions(t)))
	if schemaExists(t, pool) {
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
			for range 2 { // the schema stays for the second round
				up(t, itsURL)
				down(t, itsURL, len(versions(t)))
				if n := pgtest.Value[int](t, admin, `SELECT count(*) FROM pg_class WHERE relnamespace = 'lumin'::regnamespace`); n != 0 {
					t.Errorf("the schema still has %d objects", n)
				}
			}
			up(t, itsURL)
			checkTriggers(t, pgtest.Pool(t, itsURL))
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
			if !schemaExists(t, pool) {
				t.Fatal("the other application's object was removed with the schema")
			}
			if n := pgtest.Value[int](t, pool, `
				SELECT count(*) FROM pg_class WHERE relnamespace = 'lumin'::regnamespace AND relname <> 'theirs'`); n != 0 {
				t.Errorf("%d of our objects remain", n)
			}
			up(t, address)
			checkTriggers(t, pool)
		})
	}
}
