package migrations

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// A migration that changes a table waits for every transaction that uses it, and
// all later ones wait behind the migration. One row that somebody keeps locked would
// so stop all deliveries. Migrations therefore wait for a lock only briefly, let the
// others pass, and start again: each is one transaction, which has changed nothing.
const (
	// briefLocksSQL begins such a transaction. It ends in no new line, because errors
	// name lines of the migration that follows.
	briefLocksSQL = `SET LOCAL lock_timeout = '500ms'; `

	// lockPause is long enough for the deliveries of that half second.
	lockPause = time.Second
)

// untilLocked calls run until it gets all its locks, and reports once that it waits.
func (m *migrator) untilLocked(ctx context.Context, name string, run func() error) error {
	for began, waits := time.Now(), false; ; {
		err := run()
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != pgerrcode.LockNotAvailable {
			return err
		}
		if !waits {
			waits = true
			m.report(Step{name + " waits for an open transaction", time.Since(began)})
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: it waited for an open transaction: %w", ctx.Err(), err)
		case <-time.After(lockPause):
		}
	}
}
