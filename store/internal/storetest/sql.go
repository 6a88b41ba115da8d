package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/wait"
	"lumin-ingest/store"
)

// Timeout is how long a test waits for a condition. It is long, because only a
// failing test uses all of it.
const Timeout = 30 * time.Second

// Querier is a pool, a connection or a transaction.
type Querier = pgtest.Database

// Exec runs a statement.
func Exec(tb testing.TB, db Querier, sql string, args ...any) {
	tb.Helper()
	pgtest.Exec(tb, db, sql, args...)
}

// Value reads one value.
func Value[T any](tb testing.TB, db Querier, sql string, args ...any) T {
	tb.Helper()
	return pgtest.Value[T](tb, db, sql, args...)
}

// Begin begins a transaction that is rolled back when the test ends.
func Begin(tb testing.TB, s *store.Store) pgx.Tx {
	tb.Helper()
	tx, err := s.Pool().Begin(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(tb.Context())) })
	return tx
}

// Eventually waits until done returns true.
func Eventually(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	wait.Within(tb, Timeout, what, done)
}

// Tally is the number of rows in a database. Redeliveries are counted by
// delivery.
type Tally struct{ Events, Runs, Jobs, Redeliveries int }

// Count returns the tally of the database.
func Count(tb testing.TB, s *store.Store) Tally {
	tb.Helper()
	rows, _ := s.Pool().Query(tb.Context(), `
		SELECT (SELECT count(*) FROM lumin.events), (SELECT count(*) FROM lumin.runs),
		       (SELECT count(*) FROM lumin.river_job), (SELECT coalesce(sum(count), 0) FROM lumin.redeliveries)`) // its error is that of the rows
	t, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Tally])
	if err != nil {
		tb.Fatal(err)
	}
	return t
}
