package pgproxy_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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

// A strike hits a statement in the middle of a batch. The server has executed
// those before it, and nothing after it reaches the server.
func TestStrikeInBatch(t *testing.T) {
	t.Parallel()
	isCommit := pgproxy.Moment.Commits
	for name, c := range map[string]struct {
		at        func(pgproxy.Moment) bool
		fault     pgproxy.Fault
		open      bool // when Do is called, a transaction has inserted a row and is not committed
		called    bool // the statement after the INSERT is executed
		committed int
	}{
		"before the INSERT":        {isInsert, pgproxy.DropRequest, false, false, 0},
		"after the INSERT":         {isInsert, pgproxy.DropReply, true, false, 0},
		"silent before the INSERT": {isInsert, pgproxy.BlackHole, false, false, 0},
		"late INSERT":              {isInsert, pgproxy.Late, false, true, 1},
		"before COMMIT":            {isCommit, pgproxy.DropRequest, true, true, 0},
		"after COMMIT":             {isCommit, pgproxy.DropReply, false, true, 1},
		"silent before COMMIT":     {isCommit, pgproxy.BlackHole, true, true, 0},
		"late COMMIT":              {isCommit, pgproxy.Late, true, true, 1},
		"nothing, at COMMIT":       {isCommit, pgproxy.Pass, false, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct, proxy := batchTables(t)
			conn := pgtest.Conn(t, proxy.URL())
			open := make(chan bool, 1)
			var session uint32
			proxy.At(pgproxy.Strike{
				At: c.at, Fault: c.fault, Times: 1, Wait: 50 * time.Millisecond,
				When: func(pid uint32) bool { session = pid; return true },
				Do:   func() { open <- isWriting(t, direct, session) },
			})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			failed := make(chan error, 1)
			go func() { failed <- record(ctx, conn) }()
			struck := 0
			if c.fault != pgproxy.Pass {
				struck = 1
				if got := <-open; got != c.open {
					t.Errorf("the transaction had inserted a row when the strike was called: %t, want %t", got, c.open)
				}
			}
			if c.fault == pgproxy.BlackHole {
				cancel()
			}
			passes := c.fault == pgproxy.Late || c.fault == pgproxy.Pass
			if err := <-failed; (err == nil) != passes {
				t.Errorf("the transaction: %v", err)
			}
			if n := pgtest.Value[int](t, direct, `SELECT count(*)::int FROM s.t`); n != c.committed {
				t.Errorf("%d rows are committed, want %d", n, c.committed)
			}
			if called := pgtest.Value[bool](t, direct, `SELECT is_called FROM s.calls`); called != c.called {
				t.Errorf("the second statement was executed: %t, want %t", called, c.called)
			}
			if err := record(t.Context(), pgtest.Conn(t, proxy.URL())); err != nil || proxy.Struck() != struck {
				t.Errorf("afterwards: %v, %d struck", err, proxy.Struck())
			}
		})
	}
}

// batchTables makes the tables of record, and a proxy.
func batchTables(t *testing.T) (*pgxpool.Pool, *pgproxy.Proxy) {
	t.Helper()
	database := pgtest.NewEmpty(t)
	direct := pgtest.Pool(t, database)
	pgtest.Exec(t, direct, `CREATE SCHEMA s; CREATE TABLE s.t (name text); CREATE TABLE s.log (n bigint); CREATE SEQUENCE s.calls`)
	return direct, pgtest.Proxy(t, database)
}

// isWriting reports whether the transaction of a session has written something.
func isWriting(t *testing.T, db *pgxpool.Pool, pid uint32) bool {
	return pgtest.Value[bool](t, db, `SELECT backend_xid IS NOT NULL FROM pg_stat_activity WHERE pid = $1`, int(pid))
}

// The server does not execute a COMMIT after an error in the same round trip, so
// it is not struck. The client gets the error, and the next COMMIT is struck.
func TestSkippedCommitIsSpared(t *testing.T) {
	t.Parallel()
	direct, proxy := batchTables(t)
	pgtest.Exec(t, direct, `ALTER TABLE s.t ADD UNIQUE (name); INSERT INTO s.t VALUES ('recorded')`)
	conn := pgtest.Conn(t, proxy.URL())
	proxy.AtCommit(pgproxy.DropRequest, 1)
	var refused *pgconn.PgError
	if err := record(t.Context(), conn); !errors.As(err, &refused) || proxy.Struck() != 0 {
		t.Fatalf("a transaction with an error: %v, %d struck", err, proxy.Struck())
	}
	pgtest.Exec(t, direct, `TRUNCATE s.t`)
	if _, err := conn.Exec(t.Context(), `ROLLBACK`); err != nil {
		t.Error(err)
	}
	if err := record(t.Context(), conn); err == nil || proxy.Struck() != 1 {
		t.Errorf("the next transaction: %v, %d struck", err, proxy.Struck())
	}
}

// A statement that When does not want passes, and the next one is struck.
func TestWhen(t *testing.T) {
	t.Parallel()
	direct, proxy := batchTables(t)
	conn := pgtest.Conn(t, proxy.URL())
	var wrote []bool
	proxy.At(pgproxy.Strike{Fault: pgproxy.DropRequest, Times: 1, When: func(pid uint32) bool {
		wrote = append(wrote, isWriting(t, direct, pid))
		return wrote[len(wrote)-1]
	}})
	empty := &pgx.Batch{}
	empty.Queue("BEGIN")
	empty.Queue("SELECT 1")
	empty.Queue("COMMIT")
	if err := conn.SendBatch(t.Context(), empty).Close(); err != nil || proxy.Struck() != 0 {
		t.Errorf("an empty transaction: %v, %d struck", err, proxy.Struck())
	}
	if err := record(t.Context(), conn); err == nil || proxy.Struck() != 1 {
		t.Errorf("the next transaction: %v, %d struck", err, proxy.Struck())
	}
	if !slices.Equal(wrote, []bool{false, true}) {
		t.Errorf("had written: %t", wrote)
	}
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
