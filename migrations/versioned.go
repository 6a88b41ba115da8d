package migrations

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/jackc/pgx/v5/pgconn"
)

// Step is one step of a migration.
type Step struct {
	Name string // such as 0002_replays
	Took time.Duration
}

// versionedDriver writes the version in the transaction of the migration.
// golang-migrate's own driver writes the version before the migration, marked
// dirty, and again afterwards. A program that is killed in between leaves the
// mark, which does not show whether the migration took effect.
type versionedDriver struct {
	database.Driver
	from   int // the version in the table
	target int // the version after the next Run
	report func(Step)

	// untilLocked and buildFirst are those of the migrator.
	untilLocked func(name string, run func() error) error
	buildFirst  func(migration string) error
}

// Version implements database.Driver. golang-migrate calls it under its lock.
// If a program was killed, the server holds that lock until its migration ends.
func (d *versionedDriver) Version() (version int, dirty bool, err error) {
	version, dirty, err = d.Driver.Version()
	d.from = version
	return version, dirty, err
}

// SetVersion implements database.Driver. It only remembers the version, which
// Run writes.
func (d *versionedDriver) SetVersion(version int, _ bool) error {
	d.target = version
	return nil
}

// Run implements database.Driver. PostgreSQL executes statements that arrive
// together as one transaction.
func (d *versionedDriver) Run(file io.Reader) error {
	text, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	name := nameOf(max(d.from, d.target)) // the target on the way up, the start on the way down
	if err := d.buildFirst(string(text)); err != nil {
		return fmt.Errorf("%s, which changed nothing: %w", name, err)
	}
	began := time.Now()
	sql := briefLocksSQL + string(text) + ";\n" + setVersionSQL(d.target)
	err = d.untilLocked(name, func() error { return withoutQuery(d.Driver.Run(strings.NewReader(sql))) })
	if err != nil {
		return fmt.Errorf("%s, which changed nothing: %w", name, err)
	}
	d.from = d.target
	d.report(Step{name, time.Since(began)})
	return nil
}

// withoutQuery removes the text of the migration from an error of
// golang-migrate.
func withoutQuery(err error) error {
	var refused *pgconn.PgError
	var whole database.Error
	switch {
	case !errors.As(err, &whole):
		return err
	case errors.As(whole.OrigErr, &refused) && whole.Line > 0:
		return fmt.Errorf("line %d: %w", whole.Line, refused)
	}
	return whole.OrigErr
}

// setVersionSQL returns SQL that writes a version; -1 means none. A comment on
// the table repeats the version, because other tools do not change comments:
// see appliedVersion.
func setVersionSQL(version int) string {
	sql := "DELETE FROM lumin.schema_migrations;\n"
	if version > 0 {
		sql += fmt.Sprintf("INSERT INTO lumin.schema_migrations (version, dirty) VALUES (%d, false);\n", version)
	}
	return sql + fmt.Sprintf("COMMENT ON TABLE lumin.schema_migrations IS '%s%d';\n", versionComment, max(version, 0))
}

// versionComment begins the comment on the version table.
const versionComment = "Migrated to version "

// apply applies n migrations, or reverts them if n is negative. 0 applies all
// that are missing.
func apply(driver *versionedDriver, n int) error {
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
	return fmt.Errorf("migrate: %w", err)
}
