package migrations

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// Status is the migration status of a database.
type Status struct {
	Version int  // our newest applied migration; 0: none
	Dirty   bool // an older program was killed while it migrated to or from Version
	Latest  int  // our newest migration in this program
	River   int  // River's newest applied migration; 0: none

	// Attached reports whether the triggers, views, functions and rights of
	// attach.sql and rights.sql are those of Version. They are missing or older
	// during a migration, and after one that was interrupted at that point.
	Attached bool
}

// Current reports whether the schema is the one that this program needs, or
// newer.
func (s Status) Current() bool {
	return !s.Dirty && (s.Version > s.Latest ||
		s.Version == s.Latest && s.River >= riverVersion && s.Attached)
}

// String describes the status and the remedy in one line.
func (s Status) String() string {
	switch {
	case s.Dirty:
		return fmt.Sprintf("a migration was interrupted at version %d: run \"migrate up\" to continue it", s.Version)
	case s.Version == 0:
		return "not migrated: run \"migrate up\""
	case s.Version == s.Latest && s.River >= riverVersion && !s.Attached:
		return fmt.Sprintf("schema version %d, but its triggers and views are missing or older: run \"migrate up\" to complete it", s.Version)
	case !s.Current():
		return fmt.Sprintf("schema version %d of %d, River %d of %d: run \"migrate up\"", s.Version, s.Latest, s.River, riverVersion)
	case s.Version > s.Latest:
		return fmt.Sprintf("schema version %d, newer than this program's %d", s.Version, s.Latest)
	}
	return fmt.Sprintf("schema version %d, River %d: up to date", s.Version, s.River)
}

// attachedComment begins the comment on the trigger lumin_job_finalized. It ends
// with the version that the schema had when attach.sql was applied. The comment
// goes with the trigger when detach.sql removes it.
const attachedComment = "Attached at version "

// markAttachedSQL writes the comment, in the transaction of attach.sql.
const markAttachedSQL = `
DO $mark$
BEGIN
    EXECUTE format('COMMENT ON TRIGGER lumin_job_finalized ON lumin.river_job IS %L',
                   '` + attachedComment + `' || (SELECT max(version) FROM lumin.schema_migrations));
END
$mark$;
`

// querier is a connection or a pool.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// ReadStatus reads the version tables. They need not exist.
func ReadStatus(ctx context.Context, db querier) (Status, error) {
	status := Status{Latest: Latest()}
	var (
		ours, rivers bool
		attached     string
	)
	err := db.QueryRow(ctx, `
		SELECT pg_catalog.to_regclass('lumin.schema_migrations') IS NOT NULL,
		       pg_catalog.to_regclass('lumin.river_migration') IS NOT NULL,
		       coalesce((SELECT pg_catalog.obj_description(oid, 'pg_trigger') FROM pg_catalog.pg_trigger
		                 WHERE tgrelid = pg_catalog.to_regclass('lumin.river_job') AND tgname = 'lumin_job_finalized'), '')`,
	).Scan(&ours, &rivers, &attached)
	if err != nil {
		return status, fmt.Errorf("find the version tables: %w", err)
	}
	if ours {
		err := db.QueryRow(ctx, `
			SELECT greatest(max(version), 0), coalesce(bool_or(dirty), false) -- version is -1 while the first migration is reverted
			FROM lumin.schema_migrations`).Scan(&status.Version, &status.Dirty)
		if err != nil {
			return status, fmt.Errorf("read the schema version: %w", err)
		}
	}
	status.Attached = attached == attachedComment+strconv.Itoa(status.Version)
	if rivers {
		err := db.QueryRow(ctx, `SELECT coalesce(max(version), 0) FROM lumin.river_migration`).Scan(&status.River)
		if err != nil {
			return status, fmt.Errorf("read River's version: %w", err)
		}
	}
	return status, nil
}
