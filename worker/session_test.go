package worker_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"lumin-ingest/internal/cleanpool"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/worker"
)

// leak is something that code may leave behind in its session, and a query that
// must return true in the next session.
type leak struct {
	name, sql, clean string
	afterRollback    bool // it remains even after a rollback
}

func leaks(role string) []leak {
	return []leak{
		{"read only", `SET default_transaction_read_only = on`, `SELECT NOT current_setting('transaction_read_only')::boolean`, false},
		{"isolation", `SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE`,
			`SELECT current_setting('default_transaction_isolation') = 'read committed'`, false},
		{"statement timeout", `SET statement_timeout = '200ms'`, `SELECT current_setting('statement_timeout') = '0'`, false},
		{"role", `SET ROLE ` + role, `SELECT current_user = session_user`, false},
		{"setting", `SELECT set_config('app.tenant', 'acme', false)`, `SELECT coalesce(current_setting('app.tenant', true), '') = ''`, false},
		{"setting by a function", `SELECT shop.leak()`, `SELECT coalesce(current_setting('app.tenant', true), '') = ''`, false},
		{"search path", `SET search_path = shop`, `SELECT current_setting('search_path') NOT LIKE '%shop%'`, false},
		{"advisory lock", `SELECT pg_advisory_lock(7)`, `SELECT NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 7)`, true},
		{"temporary table", `CREATE TEMPORARY TABLE leftover AS SELECT 1 AS a`, `SELECT to_regclass('pg_temp.leftover') IS NULL`, false},
		{"channel", `LISTEN leftover`, `SELECT NOT EXISTS (SELECT FROM pg_listening_channels())`, false},
		{"cursor", `DECLARE leftover CURSOR WITH HOLD FOR SELECT 1`, `SELECT NOT EXISTS (SELECT FROM pg_cursors WHERE name = 'leftover')`, false},
		{"prepared statement", `PREPARE leftover AS SELECT 1`, `SELECT NOT EXISTS (SELECT FROM pg_prepared_statements WHERE name = 'leftover')`, true},
		{"deallocated statements", `DEALLOCATE ALL`, `SELECT true`, true},
		{"deallocated by a function", `SELECT shop.forget()`, `SELECT true`, true},
	}
}

// leakRig has one worker, and therefore one connection for its transactions. A
// test sets the code that works the next event.
type leakRig struct {
	*rig
	events int
	tx     *txJob
	plain  *plainJob
	workTx func(ctx context.Context, tx pgx.Tx) error
	work   func(ctx context.Context, e *worker.Event) error
}

func newLeakRig(t *testing.T) *leakRig {
	r := &leakRig{rig: newRig(t)}
	r.exec(`CREATE FUNCTION shop.leak() RETURNS void LANGUAGE sql AS $$ SELECT set_config('app.tenant', 'acme', false) $$`)
	r.exec(`CREATE FUNCTION shop.forget() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$`)
	r.tx = newTxJob("tx", func(ctx context.Context, tx pgx.Tx, _ int) error { return r.workTx(ctx, tx) })
	r.plain = newPlainJob("plain", func(ctx context.Context, e *worker.Event, _ int) error { return r.work(ctx, e) })
	r.startConfig(worker.Config{MaxWorkers: 1}.Quick(0), r.tx, r.plain)
	return r
}

// attempt runs the code on an event and returns the run.
func (r *leakRig) attempt(workTx func(ctx context.Context, tx pgx.Tx) error) run {
	r.t.Helper()
	r.workTx = workTx
	r.events++
	key := r.record(r.events, r.tx)
	r.waitQuiet()
	return r.run("tx", key)
}

func (r *leakRig) wantFirst(what string, got run) {
	r.t.Helper()
	if got.State != "succeeded" || got.Attempts != 1 || len(got.JobErrors) != 0 {
		r.t.Errorf("%s: %+v", what, got)
	}
}

// role creates a role of which the database's owner is a member.
func (r *leakRig) role() string {
	r.t.Helper()
	owner, err := url.Parse(r.url)
	if err != nil {
		r.t.Fatal(err)
	}
	admin, err := pgx.Connect(r.ctx, pgtest.AdminURL(r.t, r.url))
	if err != nil {
		r.t.Fatal(err)
	}
	defer admin.Close(r.ctx)
	role := pgx.Identifier{"leak_" + owner.Path[1:]}.Sanitize()
	for _, sql := range []string{`CREATE ROLE ` + role, `GRANT ` + role + ` TO ` + pgx.Identifier{owner.User.Username()}.Sanitize()} {
		if _, err := admin.Exec(r.ctx, sql); err != nil {
			r.t.Fatal(err)
		}
	}
	r.t.Cleanup(func() {
		admin, err := pgx.Connect(r.ctx, pgtest.AdminURL(r.t, r.url))
		if err == nil {
			_, err = admin.Exec(r.ctx, `DROP ROLE `+role)
			admin.Close(r.ctx)
		}
		if err != nil {
			r.t.Log(err)
		}
	})
	return role
}

// The next attempt has a clean session, whatever the attempt before changed in
// it. River is not affected.
func TestWorkTxLeavesACleanSession(t *testing.T) {
	t.Parallel()
	r := newLeakRig(t)
	for _, l := range leaks(r.role()) {
		t.Run(l.name, func(t *testing.T) {
			r.t = t
			for _, fails := range []bool{false, true} {
				if fails && !l.afterRollback {
					break
				}
				first := true
				leaking := r.attempt(func(ctx context.Context, tx pgx.Tx) error {
					if !first {
						return nil
					}
					first = false
					if _, err := tx.Exec(ctx, l.sql); err != nil {
						return err
					}
					if fails {
						return errNo
					}
					return nil
				})
				if leaking.State != "succeeded" {
					t.Errorf("the one that leaks: %+v", leaking)
				}
				var isClean bool
				r.wantFirst("the next", r.attempt(func(ctx context.Context, tx pgx.Tx) error {
					return tx.QueryRow(ctx, l.clean).Scan(&isClean)
				}))
				if !isClean {
					t.Errorf("it is not clean afterwards (the first attempt failed: %t)", fails)
				}
			}
		})
	}
}

// The same holds for plain job types that use their own pool.
func TestCleanPool(t *testing.T) {
	t.Parallel()
	r := newLeakRig(t)
	pool, err := cleanpool.New(r.ctx, r.pool, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if _, err := pool.Exec(r.ctx, `SELECT 1`); err != nil {
		t.Fatal(err)
	}
	for _, l := range leaks(r.role()) {
		t.Run(l.name, func(t *testing.T) {
			r.t = t
			for _, batch := range []bool{false, true} {
				if batch {
					b := &pgx.Batch{}
					b.Queue(l.sql)
					err = pool.SendBatch(r.ctx, b).Close()
				} else {
					_, err = pool.Exec(r.ctx, l.sql)
				}
				if err != nil {
					t.Error(err)
				}
				isClean := false
				err := pool.QueryRow(r.ctx, l.clean).Scan(&isClean)
				if l.name == "deallocated by a function" && cleanpool.LostStatements(err) {
					// The pool detects it only when it occurs for the first
					// time.
					err = pool.QueryRow(r.ctx, l.clean).Scan(&isClean)
				}
				if err != nil || !isClean {
					t.Errorf("clean: %t, %v", isClean, err)
				}
			}
		})
	}
	t.Run("named statements", func(t *testing.T) {
		for n := range 2 {
			conn, err := pool.Acquire(r.ctx)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Conn().Prepare(r.ctx, "mine", fmt.Sprintf("SELECT %d", n)); err != nil {
				t.Error(err)
			}
			conn.Release()
		}
	})
	t.Run("notifications", func(t *testing.T) { testNotifications(t, pool) })
}

// Unread notifications that pgx has received do not reach the next user.
func testNotifications(t *testing.T, pool *pgxpool.Pool) {
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `LISTEN leftover; NOTIFY leftover, 'for the last user'; SELECT 1`); err != nil {
		t.Error(err)
	}
	conn.Release()
	if conn, err = pool.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := conn.Conn().WaitForNotification(ended); err == nil {
		t.Errorf("got %+v", got)
	}
}

// Code that keeps its transaction or its connection cannot use it to reach a
// later attempt.
func TestKeptTransactions(t *testing.T) {
	t.Parallel()
	r := newLeakRig(t)
	var (
		kept    []pgx.Tx
		conn    *pgx.Conn
		objects pgx.LargeObjects
	)
	r.wantFirst("the one that keeps", r.attempt(func(ctx context.Context, tx pgx.Tx) error {
		savepoint, err := tx.Begin(ctx)
		kept = []pgx.Tx{tx, savepoint}
		return err
	}))
	r.wantFirst("the one on the same connection", r.attempt(func(ctx context.Context, _ pgx.Tx) error {
		for _, tx := range kept {
			wantClosed(t, ctx, tx)
		}
		return nil
	}))
	r.wantFirst("the one that keeps its connection", r.attempt(func(_ context.Context, tx pgx.Tx) error { conn = tx.Conn(); return nil }))
	r.wantFirst("the one that keeps large objects", r.attempt(func(_ context.Context, tx pgx.Tx) error { objects = tx.LargeObjects(); return nil }))
	r.wantFirst("the next", r.attempt(func(ctx context.Context, _ pgx.Tx) error {
		if _, err := conn.Exec(ctx, `SELECT 1`); err == nil {
			t.Error("a connection that was kept is open")
		}
		if _, err := objects.Create(ctx, 0); err == nil {
			t.Error("large objects that were kept are open")
		}
		return nil
	}))
}

func wantClosed(t *testing.T, ctx context.Context, tx pgx.Tx) { //nolint:revive // t goes first
	t.Helper()
	const sql = `INSERT INTO shop.effects (kind, event_key) VALUES ('kept', gen_random_uuid())`
	batch := &pgx.Batch{}
	batch.Queue(sql)
	_, execErr := tx.Exec(ctx, sql)
	_, queryErr := tx.Query(ctx, sql)
	_, beginErr := tx.Begin(ctx)
	_, prepareErr := tx.Prepare(ctx, "kept", sql)
	_, copyErr := tx.CopyFrom(ctx, pgx.Identifier{"shop", "effects"}, []string{"kind"}, pgx.CopyFromRows(nil))
	for _, err := range []error{execErr, queryErr, beginErr, prepareErr, copyErr, tx.QueryRow(ctx, sql).Scan(), tx.SendBatch(ctx, batch).Close()} {
		if !errors.Is(err, pgx.ErrTxClosed) {
			t.Errorf("%T: %v", tx, err)
		}
	}
	if conn := tx.Conn(); conn == nil || !conn.IsClosed() {
		t.Error("its connection is not closed")
	} else if _, err := conn.Exec(ctx, sql); err == nil {
		t.Error("its connection takes statements")
	}
}

// Follow-up jobs do not close the connection, although River asks for it.
func TestRiverKeepsTheConnection(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	pids := map[uint32]bool{}
	job := newTxJob("job", func(ctx context.Context, tx pgx.Tx, _ int) error {
		var pid uint32
		if err := tx.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
			return err
		}
		pids[pid] = true
		_, err := river.ClientFromContext[pgx.Tx](ctx).InsertTx(ctx, tx, noticeArgs{OrderID: 1}, nil)
		return err
	})
	registry := registryOf(job)
	worker.AddFollowUp(registry, noticeWorker{sent: make(chan int, 3)})
	r.startRegistry(worker.Config{MaxWorkers: 1}.Quick(0), registry)
	for n := range 3 {
		r.record(n, job)
		r.wait("the call", func() bool { return r.effects("job") == n+1 })
	}
	if len(pids) != 1 {
		t.Errorf("%d connections for 3 attempts", len(pids))
	}
}

// Many events are worked at once, each for another tenant. None sees the data
// of another tenant.
func TestTenantsAreIsolated(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var seen atomic.Int32
	job := newTxJob("tenant", func(ctx context.Context, tx pgx.Tx, call int) error {
		var before string
		err := tx.QueryRow(ctx, `SELECT coalesce(current_setting('app.tenant', true), '')`).Scan(&before)
		if before != "" {
			seen.Add(1)
		}
		if err == nil {
			_, err = tx.Exec(ctx, `SELECT set_config('app.tenant', $1, false)`, fmt.Sprint(call))
		}
		return err
	})
	r.start(job)
	r.recordMany(1, 40, job)
	r.waitQuiet()
	if n := seen.Load(); n != 0 || r.effects("tenant") != 40 {
		t.Errorf("%d of 40 attempts saw another tenant; %d effects", n, r.effects("tenant"))
	}
}
