package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"lumin-ingest/internal/cleanpool"
	"lumin-ingest/store"
)

// lockedRetry is the time after which a job tries again to claim a run that
// another job holds.
const lockedRetry = time.Second

// jobConns are the connections of transactional job types. River has a pool of
// its own, so that a job type that breaks all of these connections affects
// nothing else.
type jobConns struct {
	max  int
	like *pgxpool.Pool // has their session settings
	pool *pgxpool.Pool // nil until the Runtime starts
}

// claim is a transaction that settles the runs that it has claimed.
type claim struct {
	pooled  *pgxpool.Conn
	conn    *pgx.Conn
	tx      pgx.Tx
	event   *Event // of the run, if it is one
	overdue bool   // the code keeps running after its timeout; the connection is closed
}

// claim takes a connection and claims the run of an attempt on it.
func (x *executor) claim(ctx context.Context, attempt store.Attempt) (*claim, error) {
	var event *store.Event
	c, err := x.begin(ctx, func(conn *pgx.Conn) (tx pgx.Tx, err error) {
		tx, event, err = x.store.BeginClaim(ctx, conn, attempt)
		return tx, err
	})
	if err != nil {
		return nil, claimError(err)
	}
	c.event = (*Event)(event)
	return c, nil
}

// begin takes a connection and begins a transaction on it. If the connection
// has lost its prepared statements, begin closes it and takes another, because
// that is no fault of this attempt.
func (x *executor) begin(ctx context.Context, transaction func(*pgx.Conn) (pgx.Tx, error)) (*claim, error) {
	for range x.conns.max + 1 {
		pooled, err := x.conns.pool.Acquire(ctx)
		if err != nil {
			return nil, fmt.Errorf("get a connection: %w", err)
		}
		c := &claim{pooled: pooled, conn: pooled.Conn()}
		c.tx, err = transaction(c.conn)
		switch {
		case err == nil:
			return c, nil
		case cleanpool.LostStatements(err):
			_ = c.conn.Close(ctx)
			pooled.Release()
			continue
		case c.tx != nil:
			cleanpool.Mark(c.conn)
		}
		c.release(ctx)
		return nil, err
	}
	return nil, errors.New("get a connection: none has its prepared statements")
}

// release rolls back unless the transaction is committed, and returns the
// connection.
func (c *claim) release(ctx context.Context) {
	if c.overdue { // the pool no longer has it, and the code may be using it
		_ = c.conn.PgConn().Conn().Close()
		return
	}
	// The rollback must reach the server even after the timeout.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeoutGrace)
	defer cancel()
	defer c.pooled.Release()
	if c.tx != nil {
		_ = c.tx.Rollback(ctx)
	}
}

// claimError turns the error of a claim into the error that ends the attempt.
func claimError(err error) error {
	switch {
	case errors.Is(err, store.ErrRunSettled):
		return errTurnedAway
	case errors.Is(err, store.ErrRunLocked):
		return river.JobSnooze(lockedRetry)
	case errors.Is(err, store.ErrLaneBusy), errors.Is(err, store.ErrNotHead):
		return errParked
	case errors.Is(err, store.ErrEventGone), errors.Is(err, store.ErrLaneFailed):
		return river.JobCancel(err)
	default:
		return err
	}
}
