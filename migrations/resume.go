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

// ErrDirty is wrapped by errors about a version table that is marked dirty and
// contradicts the schema.
var ErrDirty = errors.New("the schema is dirty")

// resume clears the dirty mark that a killed program left in the version table.
// Up to schema version 4, programs wrote the next version, marked dirty, before
// each migration, and cleared the mark afterwards. The migration itself was one
// transaction. It took effect completely or not at all, and the schema shows
// which.
func (m *migrator) resume(ctx context.Context, status Status) (Status, error) {
	if !status.Dirty {
		return status, nil
	}
	began := time.Now()
	// The server may still be executing the migration of a killed program. It
	// holds this lock until the migration ends.
	err := m.withDriver(func(driver database.Driver) error { return errors.Join(driver.Lock(), driver.Unlock()) })
	if err != nil {
		return status, fmt.Errorf("wait for an interrupted migration: %w", err)
	}
	version, err := m.appliedVersion(ctx)
	if err != nil {
		return status, err
	}
	if !adjacent(version, status.Version) {
		return status, fmt.Errorf(`%w: the version table shows %d, but the schema is that of version %d: something other than this program changed them
restore a backup; or repair the schema, record its version, and run "migrate up" again:
  UPDATE lumin.schema_migrations SET version = NUMBER, dirty = false`, ErrDirty, status.Version, version)
	}
	if _, err := m.conn.Exec(ctx, setVersionSQL(version)); err != nil {
		return status, fmt.Errorf("record version %d: %w", version, err)
	}
	m.report(Step{fmt.Sprintf("a migration was interrupted; the schema is complete, at version %d", version), time.Since(began)})
	return ReadStatus(ctx, m.conn)
}

// appliedVersion returns the version that the schema itself shows. Each of the
// first four migrations creates a table, which shows that it took effect. Later
// migrations write their number into the comment on the version table, in their
// own transaction. Old programs that know only the first four do not update
// that comment. Below version 4, therefore, only the tables count.
func (m *migrator) appliedVersion(ctx context.Context) (version int, err error) {
	landmarks := []string{"events", "replays", "programs", "archived_files"} // of 0001 to 0004
	var (
		there   []bool
		comment *string
	)
	err = m.conn.QueryRow(ctx, `
		SELECT ARRAY(SELECT to_regclass('lumin.' || name) IS NOT NULL FROM unnest($1::text[]) WITH ORDINALITY AS t (name, n) ORDER BY n),
		       obj_description(to_regclass('lumin.schema_migrations'), 'pg_class')`, landmarks).Scan(&there, &comment)
	if err != nil {
		return 0, fmt.Errorf("read the version from the schema: %w", err)
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

// adjacent reports whether at most one migration lies between two versions.
func adjacent(a, b int) bool {
	return len(filesUpTo(max(a, b)))-len(filesUpTo(min(a, b))) <= 1
}
