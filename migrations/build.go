package migrations

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// builtFirst matches the indexes that a migration creates unless they exist. They
// are of tables that may be large.
var builtFirst = regexp.MustCompile(`(?s)CREATE (?:UNIQUE )?INDEX IF NOT EXISTS (\w+) ON ([\w.]+) .*?;`)

// buildFirst builds indexes of a migration before it, unless their table is empty.
// The migration would hold a lock until it has read the whole table, and no
// delivery could be recorded meanwhile. PostgreSQL builds an index concurrently only
// outside a transaction. A program that is killed leaves an index that is invalid,
// which the next one drops.
func (m *migrator) buildFirst(ctx context.Context, migration string) error {
	for _, statement := range builtFirst.FindAllStringSubmatch(migration, -1) {
		began, create, name, table := time.Now(), statement[0], statement[1], statement[2]
		var exists, valid, empty bool
		err := m.conn.QueryRow(ctx, `
			SELECT count(*) > 0, coalesce(bool_and(i.indisvalid), false), NOT EXISTS (SELECT FROM `+table+`)
			FROM pg_catalog.pg_index i WHERE i.indexrelid = pg_catalog.to_regclass('lumin.' || $1)`, name).Scan(&exists, &valid, &empty)
		if err != nil {
			return fmt.Errorf("find index %s: %w", name, err)
		}
		if exists && !valid {
			if _, err := m.conn.Exec(ctx, `DROP INDEX CONCURRENTLY lumin.`+name); err != nil {
				return fmt.Errorf("drop index %s, which is incomplete: %w", name, err)
			}
		}
		if valid || empty {
			continue
		}
		if _, err := m.conn.Exec(ctx, strings.Replace(create, "INDEX IF NOT EXISTS", "INDEX CONCURRENTLY", 1)); err != nil {
			return fmt.Errorf("build index %s: %w", name, err)
		}
		m.report(Step{"index " + name, time.Since(began)})
	}
	return nil
}
