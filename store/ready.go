package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// missingRightsSQL names the rights that recording and working take and the role
// does not have.
const missingRightsSQL = `
SELECT 'lumin.' || t || ' (' || p || ')'
FROM (VALUES ('events', 'INSERT'), ('events', 'SELECT'), ('runs', 'INSERT'), ('runs', 'UPDATE'),
             ('redeliveries', 'INSERT'), ('redeliveries', 'UPDATE'),
             ('river_job', 'INSERT'), ('river_job', 'UPDATE')) AS needed (t, p)
WHERE NOT pg_catalog.has_table_privilege('lumin.' || t, p)`

// Ready tells why deliveries cannot be recorded or worked with this database: it
// does not answer, is not migrated, takes no writes, or does not let this role
// write. nil if they can.
func (s *Store) Ready(ctx context.Context) error {
	status, err := s.SchemaStatus(ctx)
	if err != nil {
		return err
	}
	if !status.Current() {
		return errors.New(status.String())
	}
	var readOnly bool
	if err := s.pool.QueryRow(ctx, `SELECT pg_catalog.current_setting('transaction_read_only')::boolean`).Scan(&readOnly); err != nil {
		return fmt.Errorf("ask whether the database takes writes: %w", err)
	}
	if readOnly {
		return errors.New("the database is read-only: a standby, or default_transaction_read_only is on for the role or the database")
	}
	rows, err := s.pool.Query(ctx, missingRightsSQL)
	if err != nil {
		return fmt.Errorf("look at the role's rights: %w", err)
	}
	missing, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look at the role's rights: %w", err)
	}
	if len(missing) > 0 {
		return fmt.Errorf("the role may not write: grant it %s", strings.Join(missing, ", "))
	}
	return nil
}
