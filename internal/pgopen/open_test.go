package pgopen_test

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgopen"
	"lumin-ingest/internal/pgtest"
)

func open(t *testing.T, databaseURL string, o pgopen.Options) *pgxpool.Pool {
	t.Helper()
	pool, err := pgopen.Pool(t.Context(), databaseURL, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func with(t *testing.T, databaseURL, options string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	u.RawQuery += "&" + options
	return u.String()
}

func show(t *testing.T, conn interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, setting string,
) (value string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), `SELECT current_setting($1)`, setting).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

// A session has our settings with any URL, and returns to them after a reset.
func TestSession(t *testing.T) {
	t.Parallel()
	address := with(t, pgtest.NewEmpty(t), "client_encoding=LATIN1&Default_Transaction_Isolation=serializable&tcp_user_timeout=7"+
		"&pool_max_conns=3&pool_health_check_period=0s&default_query_exec_mode=simple_protocol&statement_cache_capacity=0")
	conn, err := pgopen.Conn(t.Context(), address, pgopen.Options{Name: "test", IdleInTransaction: 40 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	for _, reset := range []string{`SELECT 1`, `SET client_encoding = 'LATIN1'; SET idle_in_transaction_session_timeout = 0; RESET ALL`, `DISCARD ALL`} {
		if _, err := conn.Exec(t.Context(), reset, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
		for setting, want := range map[string]string{
			"client_encoding": "UTF8", "default_transaction_isolation": "read committed", "application_name": "test",
			"idle_in_transaction_session_timeout": "40s", "tcp_keepalives_idle": "15", "tcp_keepalives_interval": "5",
			"tcp_keepalives_count": "3", "tcp_user_timeout": "30000",
		} {
			var value string
			err := conn.QueryRow(t.Context(), `SELECT current_setting($1)`, pgx.QueryExecModeExec, setting).Scan(&value)
			if err != nil || value != want {
				t.Errorf("after %s: %s is %q, want %q (%v)", reset, setting, value, want, err)
			}
		}
	}

	pool := open(t, address, pgopen.Options{MaxConns: 2})
	if size := pool.Config().MaxConns; size != 2 {
		t.Errorf("the pool may hold %d connections", size)
	}
	if mode := pool.Config().ConnConfig.DefaultQueryExecMode; mode != pgx.QueryExecModeCacheStatement {
		t.Errorf("the mode for statements is %s", mode)
	}
	if name := show(t, pool, "application_name"); name != "lumin-ingest" {
		t.Errorf("application_name is %q", name)
	}
}

// A connection whose server has become read-only is not used again.
func TestReadOnlyConnectionCloses(t *testing.T) {
	t.Parallel()
	pool := open(t, pgtest.NewEmpty(t), pgopen.Options{MaxConns: 1})
	if _, err := pool.Exec(t.Context(), `SET default_transaction_read_only = on`); err != nil {
		t.Fatal(err)
	}
	_, err := pool.Exec(t.Context(), `CREATE TABLE t ()`)
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "25006" {
		t.Fatalf("read-only: %v", err)
	}
	if _, err := pool.Exec(t.Context(), `CREATE TEMPORARY TABLE t ()`); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if n := pool.Stat().NewConnsCount(); n != 2 {
		t.Errorf("the pool made %d connections", n)
	}
}

func TestReadOnlyServerRefused(t *testing.T) {
	t.Parallel()
	address := pgtest.NewEmpty(t)
	if _, err := open(t, address, pgopen.Options{}).Exec(t.Context(),
		`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$`); err != nil {
		t.Fatal(err)
	}
	if err := open(t, address, pgopen.Options{Writes: true}).Ping(t.Context()); !errors.Is(err, pgopen.ErrReadOnly) {
		t.Errorf("to write: %v", err)
	}
	if err := open(t, address, pgopen.Options{}).Ping(t.Context()); err != nil {
		t.Errorf("to read: %v", err)
	}
}

// All connections in the pool have gone silent. The next use soon gets a new
// one.
func TestSilentIdleConnections(t *testing.T) {
	t.Parallel()
	p := pgtest.Proxy(t, pgtest.NewEmpty(t))
	pool := open(t, p.URL(), pgopen.Options{MaxConns: 6})
	conns := make([]*pgxpool.Conn, 5)
	for i := range conns {
		var err error
		if conns[i], err = pool.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, conn := range conns {
		conn.Release()
	}
	p.Silence()
	time.Sleep(pgopen.PingAfter + 50*time.Millisecond) // a pool pings a connection after this time without use
	start := time.Now()
	if _, err := pool.Exec(t.Context(), `SELECT 1`); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("it took %s", took)
	}
	p.Cut() // otherwise the pool would wait for a regular end
}

// A session that waits for its client is closed, and its locks are released. A
// session that is working is not closed.
func TestSilence(t *testing.T) {
	t.Parallel()
	address := pgtest.NewEmpty(t)
	direct, p := open(t, address, pgopen.Options{}), pgtest.Proxy(t, address)
	pool := open(t, p.URL(), pgopen.Options{NoticeSilence: true})
	if _, err := pool.Exec(t.Context(), `CREATE TABLE t (id integer PRIMARY KEY)`); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), `SELECT pg_sleep(5)`); err != nil {
		t.Errorf("a slow statement was aborted: %v", err)
	}
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `INSERT INTO t VALUES (1)`); err != nil {
		t.Fatal(err)
	}
	p.Silence()
	start := time.Now()
	if _, err := tx.Exec(t.Context(), `INSERT INTO t VALUES (2)`); err == nil {
		t.Error("a statement was answered without a connection")
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("noticed after %s", took)
	}
	if _, err := direct.Exec(t.Context(), `INSERT INTO t VALUES (1)`); err != nil { // would wait for the lost session
		t.Error(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("locked for %s", took)
	}
	p.Cut()
	_ = tx.Rollback(context.Background())
}

// A client vanishes in the middle of its transaction, without a message.
func TestVanishedClient(t *testing.T) {
	t.Parallel()
	address := pgtest.NewEmpty(t)
	direct, p := open(t, address, pgopen.Options{}), pgtest.Proxy(t, address)
	if _, err := direct.Exec(t.Context(), `CREATE TABLE t (id integer PRIMARY KEY)`); err != nil {
		t.Fatal(err)
	}
	tx, err := open(t, p.URL(), pgopen.Options{IdleInTransaction: time.Second}).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `INSERT INTO t VALUES (1)`); err != nil {
		t.Fatal(err)
	}
	p.Silence()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := direct.Exec(ctx, `INSERT INTO t VALUES (1)`); err != nil {
		t.Errorf("still locked: %v", err)
	}
	p.Cut()
	_ = tx.Rollback(context.Background())
}
