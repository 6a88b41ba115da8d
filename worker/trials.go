package worker

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgopen"
)

// Trials works runs in transactions that are rolled back. It is safe for
// concurrent use, but has one connection.
type Trials struct {
	runtime *Runtime
	pool    *pgxpool.Pool
}

// Trials returns trials with the job types of the Runtime, which need not be
// started. Close them after use.
//
// A trial changes no row. A rollback does not undo everything: sequences have
// advanced, and effects outside the transaction have happened. Code that ends its
// transaction changes no row either:
//
//   - A temporary table makes each COMMIT and PREPARE TRANSACTION fail, however it
//     is sent.
//   - The session is read-only outside the transaction of the trial.
//   - A statement that would undo either of these is not sent. This holds for all
//     methods of a pgx.Conn, but not for those of the pgconn.PgConn below it.
func (r *Runtime) Trials(ctx context.Context) (*Trials, error) {
	if err := r.clock.read(ctx, r.store); err != nil {
		return nil, fmt.Errorf("read the clock of the database: %w", err)
	}
	cfg := r.store.Pool().Config()
	cfg.MaxConns, cfg.MinConns, cfg.MinIdleConns = 1, 0, 0
	tracers := []pgx.QueryTracer{escapeTracer{}}
	if cfg.ConnConfig.Tracer != nil {
		tracers = append(tracers, cfg.ConnConfig.Tracer)
	}
	cfg.ConnConfig.Tracer = multitracer.New(tracers...)
	otherwise := cfg.ConnConfig.OnPgError
	cfg.ConnConfig.OnPgError = func(conn *pgconn.PgConn, err *pgconn.PgError) bool {
		if err.Code == pgerrcode.ReadOnlySQLTransaction {
			conn.CustomData()[escaped] = true
		}
		return otherwise(conn, err)
	}
	// Each trial has a session of its own, so nothing that the code leaves in it
	// reaches another.
	cfg.AfterRelease = func(*pgx.Conn) bool { return false }
	pool, err := pgopen.New(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &Trials{runtime: r, pool: pool}, nil
}

// Close closes the connection.
func (t *Trials) Close() { t.pool.Close() }

// Transactional reports whether a kind is registered, and whether its job type
// works in a transaction and so can be tried.
func (t *Trials) Transactional(kind string) (transactional, registered bool) {
	jobType, registered := t.runtime.registry.types[kind]
	return jobType.transactional != nil, registered
}

// lockWait bounds how long a trial waits for a lock. By default PostgreSQL looks for
// deadlocks after a second, which is longer. So in a deadlock the trial usually gives
// way to the worker.
const lockWait = 200 * time.Millisecond

// begin opens a session and begins a transaction that cannot be committed.
func (t *Trials) begin(ctx context.Context, x *executor) (*claim, error) {
	pooled, err := t.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("get a connection: %w", err)
	}
	c := &claim{pooled: pooled, conn: pooled.Conn()}
	c.tx, err = beginDoomed(ctx, c.conn, x.jobType.timeout)
	if err != nil {
		c.release(ctx)
		return nil, fmt.Errorf("begin: %w", err)
	}
	return c, nil
}

// endTrial rolls back and closes the session. The server notices the end of a
// session a little later, so locks that outlive a transaction are released first.
func endTrial(ctx context.Context, c *claim) {
	if !c.overdue {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeoutGrace)
		defer cancel()
		_ = c.tx.Rollback(ending)
		_, _ = c.conn.Exec(ending, `SELECT pg_catalog.pg_advisory_unlock_all()`)
	}
	c.release(ctx)
}

// trialSessionSQL makes every transaction read-only unless it asks to write. Its
// timeouts end the session soon after this program has died.
const trialSessionSQL = `
SET default_transaction_read_only = on;
SET lock_timeout = %d;
SET statement_timeout = %[2]d;
SET idle_in_transaction_session_timeout = %[2]d`

// doomSQL makes the commit of its transaction fail: at a commit PostgreSQL empties
// the first table, and it refuses to do so while another table references it.
// Unlike a deferred constraint, SET CONSTRAINTS does not check this early.
const doomSQL = `
CREATE TEMPORARY TABLE lumin_trial (id int PRIMARY KEY) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE lumin_trial_doom (id int REFERENCES pg_temp.lumin_trial)`

// beginDoomed begins a transaction that can only be rolled back.
func beginDoomed(ctx context.Context, conn *pgx.Conn, timeout time.Duration) (pgx.Tx, error) {
	session := fmt.Sprintf(trialSessionSQL, lockWait.Milliseconds(), (timeout + timeoutGrace).Milliseconds())
	if _, err := conn.Exec(ctx, session, pgx.QueryExecModeSimpleProtocol); err != nil {
		return nil, err
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
	if err != nil {
		return nil, err
	}
	_, err = tx.Exec(ctx, doomSQL, pgx.QueryExecModeSimpleProtocol)
	conn.PgConn().CustomData()[guarded] = true
	return tx, err
}

// escapes matches statements that could let code change rows after it has ended
// the transaction of a trial.
var escapes = regexp.MustCompile(`(?i)\b(and\s+(no\s+)?chain|read\s+write|(default_)?transaction_read_only|reset\s+all|discard\s+(all|temp|temporary)|lumin_trial\w*)\b`)

// escapeTracer closes a guarded connection before a statement that matches escapes
// is sent on it.
type escapeTracer struct{}

// Marks on a connection, kept in its CustomData.
const (
	guarded = "lumin.guarded" // escapeTracer checks its statements
	escaped = "lumin.escaped" // the code has tried to change rows outside the transaction
)

func (escapeTracer) check(conn *pgx.Conn, sql string) {
	if marks := conn.PgConn().CustomData(); marks[guarded] != nil && escapes.MatchString(sql) {
		marks[escaped] = true
		_ = conn.PgConn().Conn().Close()
	}
}

// hasEscaped reports whether the code has ended the transaction of a trial, or has
// tried to change rows outside it.
func hasEscaped(conn *pgx.Conn) bool {
	server := conn.PgConn()
	return server.CustomData()[escaped] != nil || (!conn.IsClosed() && server.TxStatus() == 'I')
}

// TraceQueryStart implements pgx.QueryTracer.
func (t escapeTracer) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	t.check(conn, data.SQL)
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (escapeTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TraceBatchStart implements pgx.BatchTracer.
func (t escapeTracer) TraceBatchStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	for _, queued := range data.Batch.QueuedQueries {
		t.check(conn, queued.SQL)
	}
	return ctx
}

// TraceBatchQuery implements pgx.BatchTracer.
func (escapeTracer) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd implements pgx.BatchTracer.
func (escapeTracer) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// TracePrepareStart implements pgx.PrepareTracer.
func (t escapeTracer) TracePrepareStart(ctx context.Context, conn *pgx.Conn, data pgx.TracePrepareStartData) context.Context {
	t.check(conn, data.SQL)
	return ctx
}

// TracePrepareEnd implements pgx.PrepareTracer.
func (escapeTracer) TracePrepareEnd(context.Context, *pgx.Conn, pgx.TracePrepareEndData) {}
