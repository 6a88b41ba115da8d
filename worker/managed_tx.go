package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrManagedTx is what Commit and Rollback of the transaction answer that a job
// type is given.
var ErrManagedTx = errors.New("the worker ends this transaction: return nil to commit it, an error to roll it back")

// guarded is a transaction that commits only if it is still the one that began:
// the setting ends with the transaction, and without it there is a division by
// zero before the COMMIT. So code that sends ROLLBACK and BEGIN by itself cannot
// have an effect committed without the mark of its run.
//
//nolint:gochecknoglobals // a constant, but for Go
var guarded = pgx.TxOptions{
	BeginQuery:  `BEGIN; SET LOCAL lumin.run_claimed = 'yes'`,
	CommitQuery: `SELECT 1 / (current_setting('lumin.run_claimed', true) IS NOT DISTINCT FROM 'yes')::int; COMMIT`,
}

// errEndedTx is the error of a WorkTx that has used COMMIT or ROLLBACK.
var errEndedTx = errors.New("WorkTx ended its transaction by itself: leave COMMIT and ROLLBACK to the worker")

// commit commits what a WorkTx has done that returned nil.
func commit(ctx context.Context, tx pgx.Tx) error {
	conn := tx.Conn().PgConn()
	if conn.IsBusy() {
		return errors.New("WorkTx returned before it had read or closed the rows of a query: close them")
	}
	switch conn.TxStatus() {
	case 'T':
	case 'E':
		return errors.New("WorkTx returned nil after a statement failed, so nothing of it can be committed: return the statement's error, or use a savepoint (tx.Begin)")
	default:
		return errEndedTx
	}
	err := tx.Commit(ctx)
	var pgErr *pgconn.PgError
	switch {
	case errors.As(err, &pgErr) && pgErr.Code == "22012": // division_by_zero
		return errEndedTx
	case err != nil:
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// managedTx is a transaction that its user cannot end through its methods. Once
// it is ended all the same, by an SQL statement, it takes no others: they would
// each be committed by themselves, in every attempt anew.
type managedTx struct {
	pgx.Tx           // the transaction or one of its savepoints
	outermost pgx.Tx // the transaction
}

func manage(tx pgx.Tx) *managedTx { return &managedTx{Tx: tx, outermost: tx} }

// check closes the transaction if the server has none open any more. Afterwards
// pgx answers [pgx.ErrTxClosed] to everything.
func (t *managedTx) check(ctx context.Context) {
	if t.outermost.Conn().PgConn().TxStatus() == 'I' {
		_ = t.outermost.Rollback(ctx)
	}
}

// Commit implements pgx.Tx. Of a savepoint it means a release.
func (t *managedTx) Commit(ctx context.Context) error {
	if t.Tx == t.outermost {
		return ErrManagedTx
	}
	t.check(ctx)
	return t.Tx.Commit(ctx)
}

// Rollback implements pgx.Tx. Of a savepoint it means to go back to it.
func (t *managedTx) Rollback(ctx context.Context) error {
	if t.Tx == t.outermost {
		return ErrManagedTx
	}
	t.check(ctx)
	return t.Tx.Rollback(ctx)
}

// Begin implements pgx.Tx: it sets a savepoint.
func (t *managedTx) Begin(ctx context.Context) (pgx.Tx, error) {
	t.check(ctx)
	savepoint, err := t.Tx.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return &managedTx{Tx: savepoint, outermost: t.outermost}, nil
}

// Exec implements pgx.Tx.
func (t *managedTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	t.check(ctx)
	return t.Tx.Exec(ctx, sql, args...)
}

// Query implements pgx.Tx.
func (t *managedTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	t.check(ctx)
	return t.Tx.Query(ctx, sql, args...)
}

// QueryRow implements pgx.Tx.
func (t *managedTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	t.check(ctx)
	return t.Tx.QueryRow(ctx, sql, args...)
}

// SendBatch implements pgx.Tx.
func (t *managedTx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	t.check(ctx)
	return t.Tx.SendBatch(ctx, b)
}

// CopyFrom implements pgx.Tx.
func (t *managedTx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	t.check(ctx)
	return t.Tx.CopyFrom(ctx, table, columns, rows)
}
