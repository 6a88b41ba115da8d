// Package recording finds the transactions that are adding events at this
// moment, by the lock that each of them holds on lumin.events until it ends.
// Their events are not visible yet, and their ids may be lower than those of
// visible events.
//
// Use it where missing such an event would be wrong:
//
//	if err := recording.Await(ctx, pool); err != nil {
//		return err
//	}
//	// Every event of a transaction that was open before Await is visible now,
//	// or was rolled back.
//
// It guarantees that a transaction is returned by [Open] until its events are
// visible to others. Transactions that only change events are returned too.
package recording

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// PostgreSQL makes a commit visible before it releases the locks of the
// transaction.
const openSQL = `
SELECT l.virtualtransaction FROM pg_catalog.pg_locks l
WHERE l.locktype = 'relation' AND l.relation = 'lumin.events'::regclass AND l.mode = 'RowExclusiveLock' AND l.granted
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())`

// Open returns the virtual ids of the transactions that may add or change
// events.
func Open(ctx context.Context, pool *pgxpool.Pool) ([]string, error) {
	return query.Column[string](ctx, pool, "find transactions that add events", openSQL)
}

const (
	// Longer than a recording can take: the recorder gives up earlier.
	awaitTimeout = 15 * time.Second

	awaitPoll = 20 * time.Millisecond
)

// Await waits until every transaction that may add or change events now has
// ended. It fails after 15 seconds.
func Await(ctx context.Context, pool *pgxpool.Pool) error {
	ctx, cancel := context.WithTimeout(ctx, awaitTimeout)
	defer cancel()
	open, err := Open(ctx, pool)
	for err == nil && len(open) > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("a transaction that adds events does not end (see pg_stat_activity): %w", ctx.Err())
		case <-time.After(awaitPoll):
		}
		var now []string
		now, err = Open(ctx, pool)
		open = slices.DeleteFunc(open, func(id string) bool { return !slices.Contains(now, id) })
	}
	return err
}
