package worker

import (
	"context"
	"errors"
	"regexp"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrManagedTx is what Commit and Rollback of the transaction answer that a job
// type is given.
var ErrManagedTx = errors.New("the worker ends this transaction: return nil to commit it, an error to roll it back")

// errEndedTx is the error of a WorkTx that has used COMMIT or ROLLBACK.
var errEndedTx = errors.New("WorkTx ended its transaction by itself: leave COMMIT and ROLLBACK to the worker")

// unfit tells why the transaction cannot be committed after a WorkTx that
// returned nil; nil if it can.
func unfit(conn *pgconn.PgConn) error {
	switch status := conn.TxStatus(); {
	case conn.IsBusy():
		return errors.New("WorkTx returned before it had read or closed the rows of a query: close them")
	case status == 'T':
		return nil
	case status == 'E':
		return errors.New("WorkTx returned nil after a statement failed, so nothing of it can be committed: return the statement's error, or use a savepoint (tx.Begin)")
	default:
		return errEndedTx
	}
}

// endsTx finds statements that may end a transaction. Others that it finds, such
// as those with CASE ... END, cost a second look at the run and nothing else.
var endsTx = regexp.MustCompile(`(?i)\b(rollback|commit|abort|end|prepare)\b`)

// managedTx is a transaction that its user cannot end through its methods. Once
// it is ended all the same, by an SQL statement, it takes no others: they would
// each be committed by themselves, in every attempt anew.
type managedTx struct {
	pgx.Tx // the transaction or one of its savepoints
	watch  *txWatch
}

// txWatch is what a transaction and its savepoints share.
type txWatch struct {
	outermost pgx.Tx
	maybeNew  bool // another transaction may have taken the place of the one that began
}

func manage(tx pgx.Tx) *managedTx { return &managedTx{Tx: tx, watch: &txWatch{outermost: tx}} }

// check is called before each statement. It closes the transaction if the server
// has none open any more: afterwards pgx answers [pgx.ErrTxClosed] to everything.
func (t *managedTx) check(ctx context.Context, sql string) {
	if t.watch.outermost.Conn().PgConn().TxStatus() == 'I' {
		_ = t.watch.outermost.Rollback(ctx)
	}
	t.watch.maybeNew = t.watch.maybeNew || endsTx.MatchString(sql)
}

// Conn implements pgx.Tx. What is sent over it is not seen here.
func (t *managedTx) Conn() *pgx.Conn {
	t.watch.maybeNew = true
	return t.Tx.Conn()
}

// Commit implements pgx.Tx. Of a savepoint it means a release.
func (t *managedTx) Commit(ctx context.Context) error {
	if t.Tx == t.watch.outermost {
		return ErrManagedTx
	}
	t.check(ctx, "")
	return t.Tx.Commit(ctx)
}

// Rollback implements pgx.Tx. Of a savepoint it means to go back to it.
func (t *managedTx) Rollback(ctx context.Context) error {
	if t.Tx == t.watch.outermost {
		return ErrManagedTx
	}
	t.check(ctx, "")
	return t.Tx.Rollback(ctx)
}

// Begin implements pgx.Tx: it sets a savepoint.
func (t *managedTx) Begin(ctx context.Context) (pgx.Tx, error) {
	t.check(ctx, "")
	savepoint, err := t.Tx.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return &managedTx{Tx: savepoint, watch: t.watch}, nil
}

// Exec implements pgx.Tx.
func (t *managedTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	t.check(ctx, sql)
	return t.Tx.Exec(ctx, sql, args...)
}

// Prepare implements pgx.Tx.
func (t *managedTx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	t.check(ctx, sql)
	return t.Tx.Prepare(ctx, name, sql)
}

// Query implements pgx.Tx.
func (t *managedTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	t.check(ctx, sql)
	return t.Tx.Query(ctx, sql, args...)
}

// QueryRow implements pgx.Tx.
func (t *managedTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	t.check(ctx, sql)
	return t.Tx.QueryRow(ctx, sql, args...)
}

// SendBatch implements pgx.Tx.
func (t *managedTx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	t.check(ctx, "")
	for _, query := range b.QueuedQueries {
		t.check(ctx, query.SQL)
	}
	return t.Tx.SendBatch(ctx, b)
}

// CopyFrom implements pgx.Tx.
func (t *managedTx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	t.check(ctx, "")
	return t.Tx.CopyFrom(ctx, table, columns, rows)
}
