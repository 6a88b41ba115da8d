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

// Schema is the schema of our tables and River's.
const Schema = "lumin"

// riverVersion is the River migration that this program was built against. The
// database may have a newer one, because River's migrations are compatible one
// step back.
const riverVersion = 8

// lockKey serializes migrating programs on one database: "lumin" in ASCII, as
// pg_advisory_lock takes a number.
const lockKey = 0x6c756d696e

// options are the options of the connections that migrate.
//
//nolint:gochecknoglobals // constant, but Go has no constant structs
var options = pgopen.Options{Name: "lumin-ingest migrate", Writes: true, AfterConnect: overrideSettings}

// Up migrates the schema to [Latest]. It changes nothing if the schema is up to
// date or newer. Each migration and its version commit together. If a program
// is killed, the next Up therefore continues where it stopped.
func Up(ctx context.Context, databaseURL string) error {
	return UpReporting(ctx, databaseURL, nil)
}

// UpReporting is like Up, and calls report after each step, and once if it has to
// wait, unless report is nil.
func UpReporting(ctx context.Context, databaseURL string, report func(Step)) error {
	return locked(ctx, databaseURL, report, func(m *migrator) error { return m.up(ctx) })
}

// Down reverts the newest n of our migrations and removes the data in the
// tables and columns that they created: see [Losses]. If it reverts the first
// migration, it also removes River's tables and the schema. The schema stays if
// it contains other objects or if this role could not create it again. A Down
// that was interrupted after reverting the first migration continues where it
// stopped, whatever n is.
func Down(ctx context.Context, databaseURL string, n int) error {
	return DownReporting(ctx, databaseURL, n, nil)
}

// DownReporting is like Down, and calls report as [UpReporting] does.
func DownReporting(ctx context.Context, databaseURL string, n int, report func(Step)) error {
	if n < 1 {
		return fmt.Errorf("migrate down: the number of migrations cannot be %d: give 1 or more", n)
	}
	return locked(ctx, databaseURL, report, func(m *migrator) error { return m.down(ctx, n) })
}

// migrator migrates on one connection, which holds the advisory lock.
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
	// Closing the connection releases the lock, even if the program is killed.
	if report == nil {
		report = func(Step) {}
	}
	if err := lock(ctx, conn, report); err != nil {
		return fmt.Errorf("wait for other programs that migrate: %w", err)
	}
	return act(&migrator{url: databaseURL, conn: conn, report: report})
}

// overrideSettings overrides settings of the role or database that do not suit
// migrations, such as timeouts for small queries and another application's
// search_path.
func overrideSettings(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `SET statement_timeout = 0; SET lock_timeout = 0; SET idle_session_timeout = 0; SET search_path = pg_catalog, pg_temp; SET client_encoding = 'UTF8';
		SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout' -- since PostgreSQL 17`)
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
		// River's migrations may change columns that our triggers depend on.
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

// attach recreates the triggers, views and functions that depend on River's
// tables, in one transaction. It drops them first, because a changed view
// cannot always be replaced. The roles of [GrantRoles] get their rights on new
// objects in that transaction, so programs that run never lack one.
func (m *migrator) attach(ctx context.Context) error {
	const name = "triggers and views"
	began := time.Now()
	err := m.untilLocked(ctx, name, func() error {
		_, err := m.conn.Exec(ctx, briefLocksSQL+detachSQL+attachSQL+renewRightsSQL()+markAttachedSQL)
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
		return fmt.Errorf("migrate down: the schema is at version %d, and this program only knows versions up to %d: use the newer program", status.Version, status.Latest)
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

// checkEncoding refuses a database whose encoding cannot store every text.
// Texts that it rejects would be lost, or would prevent River from completing
// jobs.
func (m *migrator) checkEncoding(ctx context.Context) error {
	var encoding string
	if err := m.conn.QueryRow(ctx, `SELECT current_setting('server_encoding')`).Scan(&encoding); err != nil {
		return fmt.Errorf("read the encoding of the database: %w", err)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the encoding of the database is %s, which cannot store every text: create a database with CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0", encoding)
	}
	return nil
}

// createSchema checks for the schema first, because CREATE SCHEMA IF NOT EXISTS
// requires the privilege to create even if the schema exists.
func (m *migrator) createSchema(ctx context.Context) error {
	var exists bool
	err := m.conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)`, Schema).Scan(&exists)
	if err != nil {
		return fmt.Errorf("find schema %s: %w", Schema, err)
	}
	if exists {
		return nil
	}
	if _, err := m.conn.Exec(ctx, `CREATE SCHEMA lumin`); err != nil {
		return fmt.Errorf("create schema %s (ask an administrator to run CREATE SCHEMA %s AUTHORIZATION with this role, or to grant CREATE on the database): %w", Schema, Schema, err)
	}
	return nil
}

// dropRest drops the version table and the schema. The schema stays if it
// contains other objects, or if only an administrator could create it again.
func (m *migrator) dropRest(ctx context.Context) error {
	var migrated, canCreate bool
	err := m.conn.QueryRow(ctx, `
		SELECT to_regclass('lumin.schema_migrations') IS NOT NULL,
		       has_database_privilege(current_database(), 'CREATE')`).Scan(&migrated, &canCreate)
	if err != nil {
		return fmt.Errorf("read schema %s: %w", Schema, err)
	}
	if !migrated {
		return nil
	}
	if _, err := m.conn.Exec(ctx, `DROP TABLE lumin.schema_migrations`); err != nil {
		return fmt.Errorf("drop the version table: %w", err)
	}
	if !canCreate {
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

// river runs River's migrations, each in its own transaction, because one of
// them adds an enum value that a later one uses.
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

// steps applies n of our migrations, or reverts them if n is negative. 0
// applies all that are missing.
func (m *migrator) steps(ctx context.Context, n int) error {
	return m.withDriver(func(driver database.Driver) error {
		return apply(&versionedDriver{
			Driver: driver, report: m.report,
			untilLocked: func(name string, run func() error) error { return m.untilLocked(ctx, name, run) },
			buildFirst:  func(migration string) error { return m.buildFirst(ctx, migration) },
		}, n)
	})
}

// withDriver opens the version table, and creates it if necessary.
func (m *migrator) withDriver(act func(database.Driver) error) error {
	db := stdlib.OpenDB(*m.conn.Config(), stdlib.OptionAfterConnect(overrideSettings))
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
