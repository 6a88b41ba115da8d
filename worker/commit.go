package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"lumin-ingest/internal/cleanpool"
	"lumin-ingest/store"
)

// errEndedTx is the error of an attempt whose code has sent COMMIT or ROLLBACK.
var errEndedTx = errors.New("the code ended its own transaction: leave COMMIT and ROLLBACK to the worker")

// commit ends a successful attempt. maybeReplaced means that the code may have
// replaced the transaction with another.
func (x *executor) commit(ctx context.Context, c *claim, attempt store.Attempt, maybeReplaced bool) error {
	if err := checkCommittable(c.tx.Conn().PgConn()); err != nil {
		return err
	}
	if maybeReplaced {
		if err := x.checkClaim(ctx, c.tx, attempt); err != nil {
			return err
		}
	}
	committing, span := x.tracer.Start(ctx, "commit")
	err := c.tx.Commit(committing)
	endWith(span, err)
	if err == nil {
		cleanpool.Mark(c.conn)
		return nil
	}
	// An error from the server may mean that cleaning the session failed after
	// the commit. The run is settled then.
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		if _, runErr := x.store.ReadRun(ctx, attempt); errors.Is(runErr, store.ErrRunSettled) {
			return nil
		}
	}
	return fmt.Errorf("commit: %w", err)
}

// checkCommittable returns an error if the transaction cannot be committed
// although the code returned nil.
func checkCommittable(conn *pgconn.PgConn) error {
	switch status := conn.TxStatus(); {
	case conn.IsBusy():
		return errors.New("the code returned before it had read or closed the rows of a query: close them")
	case status == 'T':
		return nil
	case status == 'E':
		return errors.New("the code returned nil after a statement failed, so its transaction cannot be committed: return the statement's error, or use a savepoint (tx.Begin)")
	default:
		return errEndedTx
	}
}

// checkClaim returns an error unless the run will be settled after a commit.
// The code may have sent ROLLBACK and BEGIN, which removed the claim. A claim
// that is still there, in this transaction or a committed one, makes a second
// claim fail with ErrRunSettled.
func (x *executor) checkClaim(ctx context.Context, tx pgx.Tx, attempt store.Attempt) error {
	_, err := x.store.ClaimTx(ctx, tx, attempt)
	switch {
	case errors.Is(err, store.ErrRunSettled):
		return nil
	case err == nil, errors.Is(err, store.ErrRunLocked), errors.Is(err, store.ErrEventGone):
		return errEndedTx
	default:
		return err
	}
}
