package migrations_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
)

func TestUpDownUp(t *testing.T) {
	t.Parallel()
	url := pgtest.NewEmpty(t)
	pool := pgtest.Pool(t, url)
	if s := status(t, pool); s != (migrations.Status{Latest: migrations.Latest()}) || s.Current() || !strings.Contains(s.String(), "not migrated") {
		t.Errorf("before: %+v, %s", s, s)
	}
	down(t, url, 1) // the database is empty
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
		if schemaExists(t, pool) {
			t.Error("down: schema lumin is still there")
		}
		if s := status(t, pool); s != (migrations.Status{Latest: migrations.Latest()}) {
			t.Errorf("down: %+v", s)
		}
	}
	up(t, url)
	checkTriggers(t, pool)
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
	checkTriggers(t, pool) // with the remaining migrations
	up(t, url)
	if s := status(t, pool); !s.Current() {
		t.Errorf("up again: %s", s)
	}
	for range applied {
		down(t, url, 1)
	}
	if schemaExists(t, pool) {
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
	checkTriggers(t, pool)
}

func TestNewerSchema(t *testing.T) {
	t.Parallel()
	address := pgtest.New(t)
	pool := pgtest.Pool(t, address)
	newer := migrations.Latest() + 3
	pgtest.Exec(t, pool, fmt.Sprintf(`UPDATE lumin.schema_migrations SET version = %d`, newer))
	pgtest.Exec(t, pool, `DROP TABLE lumin.replays`) // the newer version has dropped it
	up(t, address)
	before := status(t, pool)
	if !before.Current() || !strings.Contains(before.String(), "newer than this program") {
		t.Errorf("%+v: %s", before, before)
	}
	if pgtest.Value[bool](t, pool, `SELECT to_regclass('lumin.replays') IS NOT NULL`) {
		t.Error("up has changed a newer schema")
	}
	err := migrations.Down(t.Context(), address, 1)
	if err == nil || !strings.Contains(err.Error(), "newer program") {
		t.Errorf("down: %v", err)
	}
	if after := status(t, pool); after != before || after.Version != newer {
		t.Errorf("down has changed a newer schema: %+v", after)
	}
}

// Down continues where an earlier one was interrupted.
func TestInterruptedDown(t *testing.T) {
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
	if schemaExists(t, pool) {
		t.Error("schema lumin is still there")
	}

	// Interrupt it between River's tables and the version table.
	up(t, address)
	down(t, address, len(versions(t)))
	pgtest.Exec(t, pool, `CREATE SCHEMA lumin; CREATE TABLE lumin.schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)`)
	down(t, address, 1)
	if schemaExists(t, pool) {
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
		return pgtest.Value[bool](t, admin, `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%pg_try_advisory_lock%')`)
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
	checkTriggers(t, admin)
}

// Databases that are up to date get a change of attach.sql or rights.sql only
// through a numbered migration, which may be empty. To change one of them, add a
// migration and update both constants here. A change of comments needs only the
// new sum.
func TestAttachComesWithMigration(t *testing.T) {
	t.Parallel()
	var text []byte
	for _, name := range []string{"attach.sql", "rights.sql"} {
		part, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, part...)
	}
	const latest, sum = 31, "17eb2f793b03cf50"
	if got := fmt.Sprintf("%.8x", sha256.Sum256(text)); migrations.Latest() != latest || got != sum {
		t.Errorf("attach.sql and rights.sql are %s at migration %d; this test expects %s at %d", got, migrations.Latest(), sum, latest)
	}
}

func TestUpRefusesEncoding(t *testing.T) {
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
