package store

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgopen"
)

// beginTimeout bounds the wait for the answer to BEGIN. A working server
// answers at once.
const beginTimeout = 2 * time.Second

// beginRecording tries twice, because the pool may hold connections from before
// a restart of the server, or to a server that no longer answers. The second
// try uses a new connection. It is safe, because nothing has been written yet.
// Without it the delivery would be refused, and Lumin redelivers only after
// five minutes.
func (s *Store) beginRecording(ctx context.Context, lockTimeout time.Duration) (pgx.Tx, error) {
	options := boundedLocks(lockTimeout)
	tx, err := s.beginOnce(ctx, options)
	var unreachable *pgconn.ConnectError
	if err == nil || ctx.Err() != nil || errors.As(err, &unreachable) {
		return tx, err
	}
	pgopen.Drop(s.pool)
	return s.beginOnce(ctx, options)
}

func (s *Store) beginOnce(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	beginning, cancel := context.WithTimeout(ctx, beginTimeout)
	defer cancel()
	tx, err := conn.BeginTx(beginning, options)
	if err != nil {
		pgopen.Discard(conn)
		return nil, err
	}
	return &recordingTx{Tx: tx, conn: conn}, nil
}

// boundedLocks is [query.ReadCommitted] with a bound on each wait for a lock and on
// each statement. All are set in one round trip.
func boundedLocks(timeout time.Duration) pgx.TxOptions {
	return pgx.TxOptions{BeginQuery: `BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = ` + milliseconds(timeout) +
		`; SET LOCAL statement_timeout = ` + milliseconds(flushTimeout)}
}

// milliseconds formats a timeout for PostgreSQL.
func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// recordingTx returns its connection to the pool when it ends.
type recordingTx struct {
	pgx.Tx
	conn *pgxpool.Conn // nil once it is returned
}

func (t *recordingTx) Commit(ctx context.Context) error {
	defer t.release()
	return t.Tx.Commit(ctx)
}

func (t *recordingTx) Rollback(ctx context.Context) error {
	defer t.release()
	return t.Tx.Rollback(ctx)
}

func (t *recordingTx) release() {
	if t.conn != nil {
		t.conn.Release()
		t.conn = nil
	}
}
