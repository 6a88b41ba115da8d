package migrations

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A migration that changes a table waits for every open transaction that uses
// the table, and all later transactions wait for the migration. A single
// transaction that stays open could therefore block all deliveries. To prevent
// this, a migration waits for a lock only briefly. It then rolls back, lets the
// waiting transactions pass, and starts again.
const (
	// briefLocksSQL begins such a transaction. It has no line break, so that
	// the line numbers in errors are those of the migration that follows.
	briefLocksSQL = `SET LOCAL lock_timeout = '500ms'; `

	// lockPause gives the deliveries that waited for half a second time to
	// finish.
	lockPause = time.Second
)

// reportLockAfter is how long a program waits for another one that migrates
// before it says so. Most migrations take less.
const reportLockAfter = time.Second

// lock takes the advisory lock of migrations. It polls, because a statement that
// waits holds a snapshot, for whose end an index that is built concurrently waits.
// It reports once that it is waiting.
func lock(ctx context.Context, conn *pgx.Conn, report func(Step)) error {
	const poll = 100 * time.Millisecond
	began, reported := time.Now(), false
	for locked := false; ; {
		if err := conn.QueryRow(ctx, `SELECT pg_catalog.pg_try_advisory_lock($1)`, int64(lockKey)).Scan(&locked); err != nil || locked {
			return err
		}
		if waited := time.Since(began); waited >= reportLockAfter && !reported {
			reported = true
			report(Step{"waiting for another program that migrates (application_name " + options.Name + " in pg_stat_activity)", waited})
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(poll):
		}
	}
}

// untilLocked calls run until it gets all its locks. It reports once that it is
// waiting.
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
