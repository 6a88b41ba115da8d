package migrations

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-migrate/migrate/v4/database"
)

// ErrDirty is wrapped by errors that report a version table which is marked dirty
// and contradicts the schema.
var ErrDirty = errors.New("the schema is dirty")

// resume clears the mark that a killed program left in the version table. Programs
// up to version 4 of the schema wrote the version they were bound for before
// each migration, marked dirty, and cleared the mark afterwards. The migration itself
// was one transaction: it took effect whole or not at all, and the schema shows
// which.
func (m *migrator) resume(ctx context.Context, status Status) (Status, error) {
	if !status.Dirty {
		return status, nil
	}
	began := time.Now()
	// The server may still be executing the migration of a program that is gone, and
	// holds this lock until it is done.
	err := m.withDriver(func(driver database.Driver) error { return errors.Join(driver.Lock(), driver.Unlock()) })
	if err != nil {
		return status, fmt.Errorf("wait for a migration that was cut short: %w", err)
	}
	version, err := m.takenEffect(ctx)
	if err != nil {
		return status, err
	}
	if !adjacent(version, status.Version) {
		return status, fmt.Errorf(`%w: the version table says %d, and the schema is that of version %d: both were changed by something else than this program
restore a backup; or make the schema whole, write down its version, and run "migrate up" again:
  UPDATE lumin.schema_migrations SET version = NUMBER, dirty = false`, ErrDirty, status.Version, version)
	}
	if _, err := m.conn.Exec(ctx, setVersionSQL(version)); err != nil {
		return status, fmt.Errorf("write down version %d: %w", version, err)
	}
	m.report(Step{fmt.Sprintf("a migration was cut short; the schema is whole, at version %d", version), time.Since(began)})
	return ReadStatus(ctx, m.conn)
}

// takenEffect is the version that the schema itself shows. The first four
// migrations are known by a table that each of them creates. Later ones write their
// number into the comment on the version table, in their own transaction. Programs that
// know no later one leave that comment alone, so below 4 only the tables count.
func (m *migrator) takenEffect(ctx context.Context) (version int, err error) {
	landmarks := []string{"events", "replays", "programs", "archived_files"} // of 0001 to 0004
	var (
		there   []bool
		comment *string
	)
	err = m.conn.QueryRow(ctx, `
		SELECT ARRAY(SELECT to_regclass('lumin.' || name) IS NOT NULL FROM unnest($1::text[]) WITH ORDINALITY AS t (name, n) ORDER BY n),
		       obj_description(to_regclass('lumin.schema_migrations'), 'pg_class')`, landmarks).Scan(&there, &comment)
	if err != nil {
		return 0, fmt.Errorf("look how far the schema is migrated: %w", err)
	}
	if version = slices.Index(there, false); version >= 0 {
		return version, nil
	}
	version = len(landmarks)
	if comment != nil {
		if written, err := strconv.Atoi(strings.TrimPrefix(*comment, versionComment)); err == nil {
			version = max(version, written)
		}
	}
	return version, nil
}

// adjacent reports whether one migration at most lies between two versions.
func adjacent(a, b int) bool {
	return len(filesUpTo(max(a, b)))-len(filesUpTo(min(a, b))) <= 1
}
