package migrations

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database"
	pgxmigrate "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// Schema holds our tables and River's.
const Schema = "lumin"

// riverVersion is River's migration that this program was built against. A newer
// one in the database is fine: River's migrations are compatible one step back.
const riverVersion = 8

// lockKey serializes migrating programs on one database: "lumin" in ASCII, as
// pg_advisory_lock takes a number.
const lockKey = 0x6c756d696e

// connectTimeout bounds how long a connection may take, unless the URL says so.
const connectTimeout = 10 * time.Second

//go:embed sql/*.sql
var numbered embed.FS

//go:embed attach.sql
var attachSQL string

//go:embed detach.sql
var detachSQL string

// ErrDirty is wrapped by errors that report a migration which started and was
// not seen to end.
var ErrDirty = errors.New("the schema is dirty")

// Up brings the schema to [Latest]. Doing it again changes nothing; a newer
// schema is left alone.
func Up(ctx context.Context, databaseURL string) error {
	return locked(ctx, databaseURL, func(m *migrator) error { return m.up(ctx) })
}

// Down takes back the newest n of our migrations. Below the first one River's
// tables go as well, and the schema, unless something else lives in it or this
// role could not create it again. A Down that was cut short there goes on where
// it stopped, whatever n.
func Down(ctx context.Context, databaseURL string, n int) error {
	if n < 1 {
		return fmt.Errorf("migrate down: %d is not a number of migrations: give 1 or more", n)
	}
	return locked(ctx, databaseURL, func(m *migrator) error { return m.down(ctx, n) })
}

// Latest is the number of the newest migration in this program.
func Latest() int {
	src, err := iofs.New(numbered, "sql")
	if err != nil {
		panic(err) // the files are part of the program
	}
	latest, err := src.First()
	if err != nil {
		panic(err)
	}
	for {
		next, err := src.Next(latest)
		if err != nil {
			return int(latest)
		}
		latest = next
	}
}

// migrator works on one connection that holds the advisory lock.
type migrator struct {
	url  string
	conn *pgx.Conn
}

func locked(ctx context.Context, databaseURL string, act func(*migrator) error) error {
	// Read like a pool's, because the URL may hold settings that only a pool
	// knows, and a server refuses those.
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return fmt.Errorf("connect to migrate: %w", err)
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return fmt.Errorf("connect to migrate: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := settle(ctx, conn); err != nil {
		return err
	}
	// Closing the connection releases the lock, also when the program is killed.
	if _, err := conn.Exec(ctx, `SELECT pg_catalog.pg_advisory_lock($1)`, int64(lockKey)); err != nil {
		return fmt.Errorf("wait for other migrating programs: %w", err)
	}
	return act(&migrator{url: databaseURL, conn: conn})
}

// settle frees a connection from what its role or database is set to: limits
// meant for small queries, and a search_path of somebody else's choosing.
func settle(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `SET statement_timeout = 0; SET lock_timeout = 0; SET search_path = pg_catalog, pg_temp; SET client_encoding = 'UTF8'`)
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
	if status.Dirty {
		return dirtyError(status.Version)
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
		if _, err := m.conn.Exec(ctx, detachSQL); err != nil {
			return fmt.Errorf("detach from River's tables: %w", err)
		}
		if err := m.river(ctx, rivermigrate.DirectionUp, riverVersion); err != nil {
			return err
		}
	}
	if err := m.steps(0); err != nil {
		return err
	}
	return m.attach(ctx)
}

// attach makes anew what hangs on River's tables, in one transaction: a view that
// has changed cannot always be replaced.
func (m *migrator) attach(ctx context.Context) error {
	if _, err := m.conn.Exec(ctx, detachSQL+attachSQL); err != nil {
		return fmt.Errorf("attach to River's tables: %w", err)
	}
	return nil
}

func (m *migrator) down(ctx context.Context, n int) error {
	status, err := ReadStatus(ctx, m.conn)
	if err != nil {
		return err
	}
	if status.Dirty {
		return dirtyError(status.Version)
	}
	switch {
	case status.Version > status.Latest:
		return fmt.Errorf("migrate down: the schema is at version %d and this program knows none above %d: use the newer program", status.Version, status.Latest)
	case status.Version > 0 && n > status.Version:
		return fmt.Errorf("migrate down %d: only %d migrations are applied: give a number from 1 to %d", n, status.Version, status.Version)
	}
	if _, err := m.conn.Exec(ctx, detachSQL); err != nil {
		return fmt.Errorf("detach from River's tables: %w", err)
	}
	if status.Version > 0 {
		if err := m.steps(-n); err != nil {
			return err
		}
	}
	if n < status.Version {
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
	config, err := pgxpool.ParseConfig(m.url)
	if err != nil {
		return fmt.Errorf("connect to migrate River: %w", err)
	}
	config.AfterConnect = settle
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connect to migrate River: %w", err)
	}
	defer pool.Close()
	quiet := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	rm, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Schema: Schema, Logger: quiet})
	if err != nil {
		return fmt.Errorf("prepare River's migrations: %w", err)
	}
	if _, err := rm.Migrate(ctx, direction, &rivermigrate.MigrateOpts{TargetVersion: target}); err != nil {
		return fmt.Errorf("migrate River %s: %w", direction, err)
	}
	return nil
}

// steps applies n of our migrations, all of them upwards for 0.
func (m *migrator) steps(n int) error {
	db := stdlib.OpenDB(*m.conn.Config(), stdlib.OptionAfterConnect(settle))
	driver, err := pgxmigrate.WithInstance(db, &pgxmigrate.Config{
		SchemaName:            Schema,
		MigrationsTable:       `"lumin"."schema_migrations"`,
		MigrationsTableQuoted: true,
	})
	if err != nil {
		return errors.Join(fmt.Errorf("open the version table: %w", err), db.Close())
	}
	err = apply(driver, n)
	if closeErr := driver.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("close after migrating: %w", closeErr)
	}
	return err
}

func apply(driver database.Driver, n int) error {
	src, err := iofs.New(numbered, "sql")
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	m, err := migrate.NewWithInstance("embedded", src, Schema, driver)
	if err != nil {
		return fmt.Errorf("prepare migrations: %w", err)
	}
	if n == 0 {
		err = m.Up()
	} else {
		err = m.Steps(n)
	}
	if err == nil || errors.Is(err, migrate.ErrNoChange) {
		return nil
	}
	err = fmt.Errorf("migrate: %w", err)
	if version, dirty, readErr := driver.Version(); readErr == nil && dirty {
		return errors.Join(err, dirtyError(max(version, 0)))
	}
	return err
}

// dirtyError says what a person has to decide. The version table tells which way
// the program was going no more than how far it got: both ways write down the
// version they are bound for before they begin.
func dirtyError(version int) error {
	var created strings.Builder
	files, err := fs.Glob(numbered, "sql/*.up.sql")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	for _, file := range files {
		text, err := numbered.ReadFile(file)
		if err != nil {
			panic(err) // the files are part of the program
		}
		name := strings.TrimSuffix(strings.TrimPrefix(file, "sql/"), ".up.sql")
		var tables []string
		for _, match := range createTable.FindAllSubmatch(text, -1) {
			tables = append(tables, string(match[1]))
		}
		fmt.Fprintf(&created, "\n  %s: %s", name, strings.Join(tables, ", "))
	}
	return fmt.Errorf(`a migration was started and not seen to end, at version %d: %w
each migration is one transaction and took effect whole or not at all; look which of these tables are there (psql: \dt lumin.*)%s
and write down, with psql, the newest migration that is there:
  UPDATE lumin.schema_migrations SET version = NUMBER, dirty = false
or, if none is:
  DELETE FROM lumin.schema_migrations
and run "migrate up" again`,
		version, ErrDirty, created.String())
}

var createTable = regexp.MustCompile(`(?m)^CREATE TABLE lumin\.(\w+)`)

// Fingerprint changes whenever what [Up] makes changes.
func Fingerprint() string {
	sum := sha256.New()
	fmt.Fprintln(sum, riverVersion, attachSQL, detachSQL)
	err := fs.WalkDir(numbered, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := numbered.ReadFile(path)
		fmt.Fprintln(sum, path, string(text))
		return err
	})
	if err != nil {
		panic(err) // the files are part of the program
	}
	return hex.EncodeToString(sum.Sum(nil))
}
