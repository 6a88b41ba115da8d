package pgtest

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgproxy"
)

// Database is a pool, a connection or a transaction.
type Database interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Pool returns a connection pool that is closed when the test ends.
func Pool(tb testing.TB, databaseURL string) *pgxpool.Pool {
	tb.Helper()
	return PoolOf(tb, databaseURL, 0)
}

// PoolOf is Pool with at most size connections. 0 means pgx's default, which
// depends on the machine.
func PoolOf(tb testing.TB, databaseURL string, size int32) *pgxpool.Pool {
	tb.Helper()
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		tb.Fatal(err)
	}
	if size > 0 {
		config.MaxConns = size
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

// Conn returns a connection that is closed when the test ends.
func Conn(tb testing.TB, databaseURL string) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(context.Background(), databaseURL)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// Proxy returns a proxy before the database that is closed when the test ends.
func Proxy(tb testing.TB, databaseURL string) *pgproxy.Proxy {
	tb.Helper()
	proxy, err := pgproxy.Start(databaseURL)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(proxy.Close)
	return proxy
}

// Hold plays another client of the database: it begins a transaction, runs a
// statement, and leaves the transaction open until release is called or the
// test ends.
func Hold(tb testing.TB, databaseURL, sql string, args ...any) (release func()) {
	tb.Helper()
	conn := Conn(tb, databaseURL)
	Exec(tb, conn, `BEGIN`)
	Exec(tb, conn, sql, args...)
	return func() { _ = conn.Close(context.Background()) }
}

// Exec runs a statement and returns the number of rows that it affected.
// Without arguments, sql may be several statements.
func Exec(tb testing.TB, db Database, sql string, args ...any) int {
	tb.Helper()
	tag, err := db.Exec(context.Background(), sql, args...)
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return int(tag.RowsAffected())
}

// Value returns the only value of a query: one row with one column.
func Value[T any](tb testing.TB, db Database, sql string, args ...any) T {
	tb.Helper()
	rows, err := db.Query(context.Background(), sql, args...)
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return v
}
