package migrations

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/golang-migrate/migrate/v4/database"
	pgxmigrate "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"lumin-ingest/internal/pgopen"
)

// Schema holds our tables and River's.
const Schema = "lumin"

// riverVersion is River's migration that this program was built against. A newer
// one in the database is fine: River's migrations are compatible one step back.
const riverVersion = 8

// lockKey serializes migrating programs on one database: "lumin" in ASCII, as
// pg_advisory_lock takes a number.
const lockKey = 0x6c756d696e

// options are those of the connections that migrate.
//
//nolint:gochecknoglobals // a constant, if Go had such
var options = pgopen.Options{Name: "lumin-ingest migrate", Writes: true, AfterConnect: settle}

// Up brings the schema to [Latest]. Doing it again changes nothing; a newer
// schema is left alone. Each migration and its version commit together, so a
// program that is killed leaves a schema that the next Up continues from.
func Up(ctx context.Context, databaseURL string) error {
	return UpReporting(ctx, databaseURL, nil)
}

// UpReporting is Up that calls report after each step, unless it is nil.
func UpReporting(ctx context.Context, databaseURL string, report func(Step)) error {
	return locked(ctx, databaseURL, report, func(m *migrator) error { return m.up(ctx) })
}

// Down takes back the newest n of our migrations, with the data in what they
// created: see [Losses]. Below the first one River's tables go as well, and the
// schema, unless something else lives in it or this role could not create it
// again. A Down that was cut short there continues where it stopped, whatever n.
func Down(ctx context.Context, databaseURL string, n int) error {
	return DownReporting(ctx, databaseURL, n, nil)
}

// DownReporting is Down that calls report after each step, unless it is nil.
func DownReporting(ctx context.Context, databaseURL string, n int, report func(Step)) error {
	if n < 1 {
		return fmt.Errorf("migrate down: %d is not a number of migrations: give 1 or more", n)
	}
	return locked(ctx, databaseURL, report, func(m *migrator) error { return m.down(ctx, n) })
}

// migrator works on one connection that holds the advisory lock.
type migrator struct {
	url    string
	conn   *pgx.Conn
	report func(Step)
}

func locked(ctx context.Context, databaseURL string, report func(Step), act func(*migrator) error) error {
	conn, err := pgopen.Conn(ctx, databaseURL, options)
	if err != nil {
		return fmt.Errorf("connect to migrate: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// Closing the connection releases the lock, also when the program is killed.
	if _, err := conn.Exec(ctx, `SELECT pg_catalog.pg_advisory_lock($1)`, int64(lockKey)); err != nil {
		return fmt.Errorf("wait for other migrating programs: %w", err)
	}
	if report == nil {
		report = func(Step) {}
	}
	return act(&migrator{url: databaseURL, conn: conn, report: report})
}

// settle frees a connection from what its role or database is set to: limits
// meant for small queries, and a search_path of somebody else's choosing.
func settle(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `SET statement_timeout = 0; SET lock_timeout = 0; SET idle_session_timeout = 0; SET search_path = pg_catalog, pg_temp; SET client_encoding = 'UTF8'`)
	if err != nil {
		return fmt.Errorf("prepare a connection to migrate: %w", err)
	}
	return nil
}

func (m *migrator) up(ctx context.Context) error {
	status, err := ReadStatus(ctx, m.conn)
	if err != nil {
		return err
	}
	if status, err = m.resume(ctx, status); err != nil {
		return err
	}
	if status.Current() || status.Version > status.Latest {
		return nil
	}
	if err := m.checkEncoding(ctx); err != nil {
		return err
	}
	if err := m.createSchema(ctx); err != nil {
		return err
	}
	if status.River < riverVersion {
		// Their migrations may change columns that our triggers hang on.
		if err := m.detach(ctx); err != nil {
			return err
		}
		if err := m.river(ctx, rivermigrate.DirectionUp, riverVersion); err != nil {
			return err
		}
	}
	if err := m.steps(ctx, 0); err != nil {
		return err
	}
	return m.attach(ctx)
}

// attach makes anew what hangs on River's tables, in one transaction: a view that
// has changed cannot always be replaced.
func (m *migrator) attach(ctx context.Context) error {
	const name = "triggers and views"
	began := time.Now()
	err := m.untilLocked(ctx, name, func() error {
		_, err := m.conn.Exec(ctx, briefLocksSQL+detachSQL+attachSQL)
		return err
	})
	if err != nil {
		return fmt.Errorf("attach to River's tables: %w", err)
	}
	m.report(Step{name, time.Since(began)})
	return nil
}

func (m *migrator) detach(ctx context.Context) error {
	err := m.untilLocked(ctx, "removing triggers and views", func() error {
		_, err := m.conn.Exec(ctx, briefLocksSQL+detachSQL)
		return err
	})
	if err != nil {
		return fmt.Errorf("detach from River's tables: %w", err)
	}
	return nil
}

func (m *migrator) down(ctx context.Context, n int) error {
	status, err := ReadStatus(ctx, m.conn)
	if err != nil {
		return err
	}
	if status, err = m.resume(ctx, status); err != nil {
		return err
	}
	applied := len(filesUpTo(status.Version))
	switch {
	case status.Version > status.Latest:
		return fmt.Errorf("migrate down: the schema is at version %d and this program knows none above %d: use the newer program", status.Version, status.Latest)
	case applied > 0 && n > applied:
		return fmt.Errorf("migrate down %d: only %d migrations are applied: give a number from 1 to %d", n, applied, applied)
	}
	if err := m.detach(ctx); err != nil {
		return err
	}
	if status.Version > 0 {
		if err := m.steps(ctx, -n); err != nil {
			return err
		}
	}
	if n < applied {
		return m.attach(ctx)
	}
	if status.River > 0 {
		if err := m.river(ctx, rivermigrate.DirectionDown, -1); err != nil {
			return err
		}
	}
	return m.dropRest(ctx)
}

// checkEncoding refuses a database that cannot hold every text: what such a one
// does not take would be lost, or would keep River from completing jobs.
func (m *migrator) checkEncoding(ctx context.Context) error {
	var encoding string
	if err := m.conn.QueryRow(ctx, `SELECT current_setting('server_encoding')`).Scan(&encoding); err != nil {
		return fmt.Errorf("ask for the encoding of the database: %w", err)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the encoding of the database is %s, which cannot hold every text: make one with CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0", encoding)
	}
	return nil
}

// createSchema asks before it creates: CREATE SCHEMA IF NOT EXISTS wants the
// right to create even where there is nothing to do.
func (m *migrator) createSchema(ctx context.Context) error {
	var exists bool
	err := m.conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)`, Schema).Scan(&exists)
	if err != nil {
		return fmt.Errorf("look for schema %s: %w", Schema, err)
	}
	if exists {
		return nil
	}
	if _, err := m.conn.Exec(ctx, `CREATE SCHEMA lumin`); err != nil {
		return fmt.Errorf("create schema %s (have an administrator run CREATE SCHEMA %s AUTHORIZATION this role, or grant CREATE on the database): %w", Schema, Schema, err)
	}
	return nil
}

// dropRest drops the version table, and the schema where that is ours to do. It
// stays when somebody keeps things in it, and when only an administrator could
// make it again.
func (m *migrator) dropRest(ctx context.Context) error {
	var migrated, again bool
	err := m.conn.QueryRow(ctx, `
		SELECT to_regclass('lumin.schema_migrations') IS NOT NULL,
		       has_database_privilege(current_database(), 'CREATE')`).Scan(&migrated, &again)
	if err != nil {
		return fmt.Errorf("look into schema %s: %w", Schema, err)
	}
	if !migrated {
		return nil
	}
	if _, err := m.conn.Exec(ctx, `DROP TABLE lumin.schema_migrations`); err != nil {
		return fmt.Errorf("drop the version table: %w", err)
	}
	if !again {
		return nil
	}
	_, err = m.conn.Exec(ctx, `DROP SCHEMA lumin RESTRICT`)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && (refused.Code == pgerrcode.DependentObjectsStillExist || refused.Code == pgerrcode.InsufficientPrivilege) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("drop schema %s: %w", Schema, err)
	}
	return nil
}

// river runs River's migrations, each in its own transaction: one of them adds
// an enum value that a later one uses.
func (m *migrator) river(ctx context.Context, direction rivermigrate.Direction, target int) error {
	pool, err := pgopen.Pool(ctx, m.url, options)
	if err != nil {
		return fmt.Errorf("connect to migrate River: %w", err)
	}
	defer pool.Close()
	quiet := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	rm, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Schema: Schema, Logger: quiet})
	if err != nil {
		return fmt.Errorf("prepare River's migrations: %w", err)
	}
	result, err := rm.Migrate(ctx, direction, &rivermigrate.MigrateOpts{TargetVersion: target})
	if err != nil {
		return fmt.Errorf("migrate River %s: %w", direction, err)
	}
	for _, v := range result.Versions {
		m.report(Step{fmt.Sprintf("River %03d: %s", v.Version, v.Name), v.Duration})
	}
	return nil
}

// steps applies n of our migrations, all of them upwards for 0.
func (m *migrator) steps(ctx context.Context, n int) error {
	return m.withDriver(func(driver database.Driver) error {
		return apply(&versionedDriver{Driver: driver, report: m.report, untilLocked: func(name string, run func() error) error {
			return m.untilLocked(ctx, name, run)
		}}, n)
	})
}

// withDriver opens the version table, which is created if need be.
func (m *migrator) withDriver(act func(database.Driver) error) error {
	db := stdlib.OpenDB(*m.conn.Config(), stdlib.OptionAfterConnect(settle))
	driver, err := pgxmigrate.WithInstance(db, &pgxmigrate.Config{
		SchemaName:            Schema,
		MigrationsTable:       `"lumin"."schema_migrations"`,
		MigrationsTableQuoted: true,
	})
	if err != nil {
		return errors.Join(fmt.Errorf("open the version table: %w", err), db.Close())
	}
	err = act(driver)
	if closeErr := driver.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("close after migrating: %w", closeErr)
	}
	return err
}
