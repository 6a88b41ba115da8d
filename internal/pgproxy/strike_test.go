package pgproxy_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgproxy"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/wait"
)

// record sends a transaction in one round trip, like a recording.
func record(ctx context.Context, conn *pgx.Conn) error {
	batch := &pgx.Batch{}
	batch.Queue("BEGIN")
	batch.Queue("INSERT INTO s.t VALUES ($1)", "recorded")
	batch.Queue("INSERT INTO s.log SELECT nextval('s.calls')")
	batch.Queue("COMMIT")
	return conn.SendBatch(ctx, batch).Close()
}

func isInsert(m pgproxy.Moment) bool { return strings.HasPrefix(m.SQL, "INSERT INTO s.t ") }

// A strike hits a statement in the middle of a batch. Nothing after it reaches
// the server.
func TestStrikeInBatch(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault    pgproxy.Fault
		inserted bool // when Do is called, in the open transaction
	}{
		"before": {pgproxy.DropRequest, false},
		"after":  {pgproxy.DropReply, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := pgtest.NewEmpty(t)
			direct := pgtest.Pool(t, database)
			pgtest.Exec(t, direct, `CREATE SCHEMA s; CREATE TABLE s.t (name text); CREATE TABLE s.log (n bigint); CREATE SEQUENCE s.calls`)
			proxy := pgtest.Proxy(t, database)
			conn := pgtest.Conn(t, proxy.URL())
			open := make(chan int, 1)
			proxy.At(pgproxy.Strike{At: isInsert, Fault: c.fault, Times: 1, Do: func() { open <- openInserts(t, direct) }})
			if err := record(t.Context(), conn); err == nil {
				t.Error("the transaction was not disturbed")
			}
			if got, want := <-open, map[bool]int{true: 1}[c.inserted]; got != want {
				t.Errorf("%d transactions had inserted a row when the strike was called, want %d", got, want)
			}
			if n := pgtest.Value[int](t, direct, `SELECT count(*)::int FROM s.t`); n != 0 {
				t.Errorf("%d rows are committed", n)
			}
			if called := pgtest.Value[bool](t, direct, `SELECT is_called FROM s.calls`); called {
				t.Error("a later statement was executed")
			}
			if err := record(t.Context(), pgtest.Conn(t, proxy.URL())); err != nil || proxy.Struck() != 1 {
				t.Errorf("afterwards: %v, %d struck", err, proxy.Struck())
			}
		})
	}
}

// openInserts counts the transactions that hold a lock as writers of s.t.
func openInserts(t *testing.T, db *pgxpool.Pool) int {
	return pgtest.Value[int](t, db, `SELECT count(*)::int FROM pg_locks WHERE relation = 's.t'::regclass AND mode = 'RowExclusiveLock'`)
}

func TestEarlierStatements(t *testing.T) {
	t.Parallel()
	proxy, conn := proxied(t)
	seen := make(chan []string, 1)
	proxy.At(pgproxy.Strike{Times: 1, Fault: pgproxy.Late, At: func(m pgproxy.Moment) bool {
		if m.Commits() {
			seen <- slices.Clone(m.Earlier)
		}
		return m.Commits()
	}})
	for _, sql := range []string{"SELECT 1", "BEGIN", "SELECT 2", "ROLLBACK", "SELECT 3", "BEGIN", "SELECT 4", "SELECT 5", "COMMIT"} {
		if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(<-seen, ","); got != "SELECT 4,SELECT 5" {
		t.Errorf("before COMMIT: %s", got)
	}
}

func TestLate(t *testing.T) {
	t.Parallel()
	proxy, conn := proxied(t)
	const late = 200 * time.Millisecond
	proxy.At(pgproxy.Strike{At: func(m pgproxy.Moment) bool { return m.SQL == "SELECT 1" }, Fault: pgproxy.Late, Times: 1, Wait: late})
	for n, want := range []time.Duration{late, 0} {
		start := time.Now()
		if _, err := conn.Exec(t.Context(), "SELECT 1", pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < want {
			t.Errorf("statement %d took %s, want at least %s", n, took, want)
		}
	}
}

// A stalled proxy forwards nothing, on open and new connections. What it has
// received is forwarded later.
func TestStall(t *testing.T) {
	t.Parallel()
	database := pgtest.NewEmpty(t)
	direct := pgtest.Conn(t, database)
	proxy := pgtest.Proxy(t, database)
	conn := pgtest.Conn(t, proxy.URL())
	proxy.Stall()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := pgx.Connect(ctx, proxy.URL()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a new connection: %v", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), "CREATE SCHEMA s")
		done <- err
	}()
	if pgtest.Value[bool](t, direct, `SELECT to_regnamespace('s') IS NOT NULL`) {
		t.Error("a statement passed")
	}
	proxy.Resume()
	wait.Until(t, "the statement is executed", func() bool { return pgtest.Value[bool](t, direct, `SELECT to_regnamespace('s') IS NOT NULL`) })
	if err := <-done; err != nil {
		t.Error(err)
	}
}
