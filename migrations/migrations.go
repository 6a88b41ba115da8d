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
	"strconv"
	"strings"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database"
	pgxmigrate "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/jackc/pgx/v5"
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
// tables go as well, and the schema, unless something else lives in it.
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
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return fmt.Errorf("connect to migrate: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// Closing the connection releases the lock, also when the program is killed.
	if _, err := conn.Exec(ctx, `SELECT pg_catalog.pg_advisory_lock($1)`, int64(lockKey)); err != nil {
		return fmt.Errorf("wait for other migrating programs: %w", err)
	}
	return act(&migrator{url: databaseURL, conn: conn})
}

func (m *migrator) up(ctx context.Context) error {
	status, err := ReadStatus(ctx, m.conn)
	if err != nil {
		return err
	}
	if status.Dirty {
		return dirtyError(status.Version)
	}
	if status.Current() {
		return nil
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
	if _, err := m.conn.Exec(ctx, attachSQL); err != nil {
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
	if status.Version == 0 && status.River == 0 {
		return nil
	}
	if n > status.Version {
		return fmt.Errorf("migrate down %d: only %d migrations are applied: give a number from 1 to %d", n, status.Version, status.Version)
	}
	if _, err := m.conn.Exec(ctx, detachSQL); err != nil {
		return fmt.Errorf("detach from River's tables: %w", err)
	}
	if err := m.steps(-n); err != nil {
		return err
	}
	if n < status.Version {
		return nil
	}
	if err := m.river(ctx, rivermigrate.DirectionDown, -1); err != nil {
		return err
	}
	if _, err := m.conn.Exec(ctx, `DROP TABLE lumin.schema_migrations`); err != nil {
		return fmt.Errorf("drop the version table: %w", err)
	}
	return m.dropSchemaIfEmpty(ctx)
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

func (m *migrator) dropSchemaIfEmpty(ctx context.Context) error {
	var used bool
	err := m.conn.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace = n.oid)
		    OR EXISTS (SELECT FROM pg_catalog.pg_proc WHERE pronamespace = n.oid)
		    OR EXISTS (SELECT FROM pg_catalog.pg_type WHERE typnamespace = n.oid)
		FROM pg_catalog.pg_namespace n WHERE n.nspname = $1`, Schema).Scan(&used)
	if err != nil {
		return fmt.Errorf("look into schema %s: %w", Schema, err)
	}
	if used {
		return nil
	}
	if _, err := m.conn.Exec(ctx, `DROP SCHEMA lumin`); err != nil {
		return fmt.Errorf("drop schema %s: %w", Schema, err)
	}
	return nil
}

// river runs River's migrations, each in its own transaction: one of them adds
// an enum value that a later one uses.
func (m *migrator) river(ctx context.Context, direction rivermigrate.Direction, target int) error {
	pool, err := pgxpool.New(ctx, m.url)
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
	db := stdlib.OpenDB(*m.conn.Config())
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
	var dirty migrate.ErrDirty
	switch {
	case err == nil, errors.Is(err, migrate.ErrNoChange):
		return nil
	case errors.As(err, &dirty):
		return dirtyError(dirty.Version)
	}
	return fmt.Errorf("migrate: %w", err)
}

// dirtyError says what a person has to decide: a file is one transaction, so it
// is there whole or not at all, but which of the two only a look can tell.
func dirtyError(version int) error {
	return fmt.Errorf(`migration %04d was started and not seen to end: %w
each migration is one transaction, so look whether what %s creates is there (psql: \d lumin.*), then
  if it is there:  UPDATE lumin.schema_migrations SET dirty = false
  if it is not:    %s
and run "migrate up" again`,
		version, ErrDirty, fileName(version), backTo(version-1))
}

func backTo(version int) string {
	if version < 1 {
		return "DELETE FROM lumin.schema_migrations"
	}
	return fmt.Sprintf("UPDATE lumin.schema_migrations SET version = %d, dirty = false", version)
}

func fileName(version int) string {
	names, err := fs.Glob(numbered, "sql/*.up.sql")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	for _, name := range names {
		m, err := source.Parse(strings.TrimPrefix(name, "sql/"))
		if err == nil && m.Version == uint(version) {
			return "migrations/" + name
		}
	}
	return "migration " + strconv.Itoa(version)
}

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
