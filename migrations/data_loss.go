package migrations

import (
	"context"
	"fmt"
	"regexp"
	"slices"
)

// Loss is data that a [Down] would remove.
type Loss struct {
	What string // a table or a column, such as lumin.events or lumin.runs.error
	Rows int64  // number of rows with data there, at most MaxLoss
}

// MaxLoss is the number of rows at which counting stops, so that counting stays
// fast on a large database.
const MaxLoss = 1_000_000

// Losses counts the data that reverting the newest n migrations would remove.
// It returns nothing if [Down] would refuse n. It ignores tables that programs
// rewrite at each start.
func Losses(ctx context.Context, databaseURL string, n int) (losses []Loss, err error) {
	err = locked(ctx, databaseURL, nil, func(m *migrator) error {
		status, err := ReadStatus(ctx, m.conn)
		if err != nil {
			return err
		}
		if status, err = m.resume(ctx, status); err != nil {
			return err
		}
		applied := filesUpTo(status.Version)
		if n < 1 || n > len(applied) || status.Version > status.Latest {
			return nil // Down refuses this n
		}
		for _, file := range applied[len(applied)-n:] {
			found, err := m.lossesOf(ctx, file)
			if err != nil {
				return err
			}
			losses = append(losses, found...)
		}
		if n < len(applied) || status.River == 0 {
			return nil
		}
		jobs, err := m.rows(ctx, "lumin.river_job", "FROM lumin.river_job")
		losses = append(losses, jobs...)
		return err
	})
	return withoutColumnsOfTables(losses), err
}

// These patterns match the statements of down files that remove data.
const (
	dropTable  = `(?m)^DROP TABLE (?:IF EXISTS )?(lumin\.\w+)`
	alterTable = `(?m)^ALTER TABLE (lumin\.\w+)([^;]*);`
	dropColumn = `DROP COLUMN (?:IF EXISTS )?(\w+)`
	deleteRows = `(?m)^DELETE (FROM (lumin\.\w+)[^;]*);`
)

// lossesOf counts the data that the down file of one migration removes.
func (m *migrator) lossesOf(ctx context.Context, f file) (losses []Loss, err error) {
	text := f.down()
	for _, match := range regexp.MustCompile(dropTable).FindAllStringSubmatch(text, -1) {
		if table := match[1]; !rewritten(table) {
			found, err := m.rows(ctx, table, "FROM "+table)
			if err != nil {
				return nil, err
			}
			losses = append(losses, found...)
		}
	}
	for _, match := range regexp.MustCompile(deleteRows).FindAllStringSubmatch(text, -1) {
		found, err := m.rows(ctx, match[2], match[1])
		if err != nil {
			return nil, err
		}
		losses = append(losses, found...)
	}
	for _, match := range regexp.MustCompile(alterTable).FindAllStringSubmatch(text, -1) {
		for _, column := range regexp.MustCompile(dropColumn).FindAllStringSubmatch(match[2], -1) {
			found, err := m.column(ctx, match[1], column[1])
			if err != nil {
				return nil, err
			}
			losses = append(losses, found...)
		}
	}
	return losses, nil
}

// rows counts the rows of a FROM clause. It returns no Loss for 0 rows.
func (m *migrator) rows(ctx context.Context, what, from string) ([]Loss, error) {
	var n int64
	err := m.conn.QueryRow(ctx, fmt.Sprintf(`SELECT count(*) FROM (SELECT %s LIMIT %d) AS counted`, from, MaxLoss)).Scan(&n)
	if err != nil {
		return nil, fmt.Errorf("count the rows of %s: %w", what, err)
	}
	if n == 0 {
		return nil, nil
	}
	return []Loss{{what, n}}, nil
}

// column counts the rows in which a column differs from its default.
func (m *migrator) column(ctx context.Context, table, column string) ([]Loss, error) {
	if column == "rerun" {
		return nil, nil // again has the same values: see migration 0010
	}
	var unwritten string
	var generated bool
	err := m.conn.QueryRow(ctx, `
		SELECT coalesce(pg_get_expr(d.adbin, d.adrelid), 'NULL'), a.attgenerated <> ''
		FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		WHERE a.attrelid = $1::text::regclass AND a.attname = $2`, table, column).Scan(&unwritten, &generated)
	if err != nil {
		return nil, fmt.Errorf("read the default of column %s.%s: %w", table, column, err)
	}
	if generated {
		return nil, nil
	}
	return m.rows(ctx, table+"."+column, fmt.Sprintf("FROM %s WHERE %s IS DISTINCT FROM %s", table, column, unwritten))
}

// rewritten reports whether programs rewrite a table soon after they start.
func rewritten(table string) bool {
	switch table {
	case "lumin.programs", "lumin.job_types", "lumin.other_kinds", "lumin.alerts", "lumin.alert_sending":
		return true
	}
	return false
}

// withoutColumnsOfTables drops the losses of columns whose whole table is
// removed.
func withoutColumnsOfTables(losses []Loss) []Loss {
	return slices.DeleteFunc(losses, func(l Loss) bool {
		return slices.ContainsFunc(losses, func(whole Loss) bool {
			return len(l.What) > len(whole.What) && l.What[:len(whole.What)+1] == whole.What+"."
		})
	})
}
