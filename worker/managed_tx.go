package worker

import (
	"context"
	"errors"
	"regexp"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrManagedTx is what Commit and Rollback of the transaction answer that a job
// type is given.
var ErrManagedTx = errors.New("the worker ends this transaction: return nil to commit it, an error to roll it back")

// errEndedTx is the error of a WorkTx that has used COMMIT or ROLLBACK.
var errEndedTx = errors.New("WorkTx ended its own transaction: leave COMMIT and ROLLBACK to the worker")

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
// each be committed by themselves, in every attempt anew. It takes none either
// once the attempt has ended, because its connection then serves another one.
type managedTx struct {
	pgx.Tx // the transaction or one of its savepoints
	watch  *txWatch
}

// txWatch is what a transaction and its savepoints share.
type txWatch struct {
	outermost pgx.Tx

	mu       sync.Mutex // the code's goroutines may outlive the attempt and use the transaction
	maybeNew bool       // another transaction may have replaced the first one
	exposed  bool       // the code may hold the connection itself
	ended    bool       // the attempt has ended
}

func manage(tx pgx.Tx) *managedTx { return &managedTx{Tx: tx, watch: &txWatch{outermost: tx}} }

// end closes the transaction for the code that uses it. It reports whether that code
// may hold the connection itself, and whether another transaction may have replaced
// the first one.
func (w *txWatch) end() (exposed, maybeNew bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	return w.exposed, w.maybeNew
}

// use is called before each statement and returns the transaction to run it on. If
// the server has no open transaction any more, use closes it: pgx then answers
// [pgx.ErrTxClosed] to every call.
func (t *managedTx) use(ctx context.Context, sql string) pgx.Tx {
	t.watch.mu.Lock()
	defer t.watch.mu.Unlock()
	if t.watch.ended {
		return closedTx()
	}
	if t.watch.outermost.Conn().PgConn().TxStatus() == 'I' {
		_ = t.watch.outermost.Rollback(ctx)
	}
	t.watch.maybeNew = t.watch.maybeNew || endsTx.MatchString(sql)
	return t.Tx
}

// Conn implements pgx.Tx. The connection is closed at the end of the attempt: code
// that keeps it must not reach the next attempt. For River the connection stays open,
// because River only reads a setting of it.
func (t *managedTx) Conn() *pgx.Conn {
	t.watch.mu.Lock()
	defer t.watch.mu.Unlock()
	if t.watch.ended {
		return closedConn(t.watch.outermost.Conn().Config())
	}
	if !calledByRiver() {
		t.watch.maybeNew, t.watch.exposed = true, true
	}
	return t.Tx.Conn()
}

// LargeObjects implements pgx.Tx. Its result can be kept like a connection.
func (t *managedTx) LargeObjects() pgx.LargeObjects {
	t.watch.mu.Lock()
	defer t.watch.mu.Unlock()
	if t.watch.ended {
		return closedTx().LargeObjects()
	}
	t.watch.exposed = true
	return t.Tx.LargeObjects()
}

// Commit implements pgx.Tx. Of a savepoint it means a release.
func (t *managedTx) Commit(ctx context.Context) error {
	if t.Tx == t.watch.outermost {
		return ErrManagedTx
	}
	return t.use(ctx, "").Commit(ctx)
}

// Rollback implements pgx.Tx. Of a savepoint it means to go back to it.
func (t *managedTx) Rollback(ctx context.Context) error {
	if t.Tx == t.watch.outermost {
		return ErrManagedTx
	}
	return t.use(ctx, "").Rollback(ctx)
}

// Begin implements pgx.Tx: it sets a savepoint.
func (t *managedTx) Begin(ctx context.Context) (pgx.Tx, error) {
	savepoint, err := t.use(ctx, "").Begin(ctx)
	if err != nil {
		return nil, err
	}
	return &managedTx{Tx: savepoint, watch: t.watch}, nil
}

// Exec implements pgx.Tx.
func (t *managedTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return t.use(ctx, sql).Exec(ctx, sql, args...)
}

// Prepare implements pgx.Tx.
func (t *managedTx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	return t.use(ctx, sql).Prepare(ctx, name, sql)
}

// Query implements pgx.Tx.
func (t *managedTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return t.use(ctx, sql).Query(ctx, sql, args...)
}

// QueryRow implements pgx.Tx.
func (t *managedTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return t.use(ctx, sql).QueryRow(ctx, sql, args...)
}

// SendBatch implements pgx.Tx.
func (t *managedTx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	tx := t.use(ctx, "")
	for _, query := range b.QueuedQueries {
		tx = t.use(ctx, query.SQL)
	}
	return tx.SendBatch(ctx, b)
}

// CopyFrom implements pgx.Tx.
func (t *managedTx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	return t.use(ctx, "").CopyFrom(ctx, table, columns, rows)
}
