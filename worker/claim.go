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
	pool *pgxpool.Pool // nil until the Runtime starts
}

// claim is a claimed run and the transaction that settles it.
type claim struct {
	conn  *pgxpool.Conn
	tx    pgx.Tx
	event *Event
}

// claim takes a connection and claims the run of an attempt on it. If the
// connection has lost its prepared statements, claim closes it and takes
// another, because that is no fault of this attempt.
func (x *executor) claim(ctx context.Context, attempt store.Attempt) (*claim, error) {
	for range x.conns.max + 1 {
		conn, err := x.conns.pool.Acquire(ctx)
		if err != nil {
			return nil, fmt.Errorf("get a connection: %w", err)
		}
		tx, event, err := x.store.BeginClaim(ctx, conn.Conn(), attempt)
		c := &claim{conn: conn, tx: tx, event: (*Event)(event)}
		switch {
		case err == nil:
			return c, nil
		case cleanpool.LostStatements(err):
			_ = conn.Conn().Close(ctx)
			conn.Release()
			continue
		case tx != nil:
			cleanpool.Mark(conn.Conn())
		}
		c.release(ctx)
		return nil, claimError(err)
	}
	return nil, errors.New("get a connection: none has its prepared statements")
}

// release rolls back unless the transaction is committed, and returns the
// connection.
func (c *claim) release(ctx context.Context) {
	defer c.conn.Release()
	if c.tx == nil {
		return
	}
	// The rollback must reach the server even after the timeout.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeoutGrace)
	defer cancel()
	_ = c.tx.Rollback(ctx)
}

// claimError turns the error of a claim into the error that ends the attempt.
func claimError(err error) error {
	switch {
	case errors.Is(err, store.ErrRunSettled):
		return errTurnedAway
	case errors.Is(err, store.ErrRunLocked):
		return river.JobSnooze(lockedRetry)
	case errors.Is(err, store.ErrEventGone):
		return river.JobCancel(err)
	default:
		return err
	}
}
