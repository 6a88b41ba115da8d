package worker

import (
	"context"
	"errors"
	"regexp"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrManagedTx is the error of Commit and Rollback on the transaction that a
// job type receives.
var ErrManagedTx = errors.New("the worker ends this transaction: return nil to commit it, an error to roll it back")

// endsTx matches statements that may end a transaction. It also matches others,
// such as those with CASE ... END, which only costs a second check of the run.
var endsTx = regexp.MustCompile(`(?i)\b(rollback|commit|abort|end|prepare)\b`)

// managedTx is a transaction that its user cannot end through its methods. If
// an SQL statement ends it, it refuses further statements: each would otherwise
// be committed on its own, once per attempt. It also refuses statements after
// the attempt, because its connection then serves another attempt.
type managedTx struct {
	pgx.Tx // the transaction or one of its savepoints
	state  *txState
}

// txState is shared by a transaction and its savepoints.
type txState struct {
	outermost pgx.Tx

	mu            sync.Mutex // goroutines of the code may outlive the attempt and use the transaction
	maybeReplaced bool       // another transaction may have replaced the first one
	exposed       bool       // the code may hold the connection itself
	ended         bool       // the attempt has ended
}

func manage(tx pgx.Tx) *managedTx { return &managedTx{Tx: tx, state: &txState{outermost: tx}} }

// end closes the transaction for the code that uses it. exposed means that the
// code may hold the connection itself. maybeReplaced means that another
// transaction may have replaced the first one.
func (s *txState) end() (exposed, maybeReplaced bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	return s.exposed, s.maybeReplaced
}

// use is called before each statement and returns the transaction to run it on.
// If the server has no open transaction any more, use closes it. Every call
// then returns [pgx.ErrTxClosed].
func (t *managedTx) use(ctx context.Context, sql string) pgx.Tx {
	t.state.mu.Lock()
	defer t.state.mu.Unlock()
	if t.state.ended {
		return closedTx()
	}
	if t.state.outermost.Conn().PgConn().TxStatus() == 'I' {
		_ = t.state.outermost.Rollback(ctx)
	}
	t.state.maybeReplaced = t.state.maybeReplaced || endsTx.MatchString(sql)
	return t.Tx
}

// Conn implements pgx.Tx. The connection is closed at the end of the attempt:
// code that keeps it must not reach the next attempt. A call by River does not
// close it, because River only reads a setting of it.
func (t *managedTx) Conn() *pgx.Conn {
	t.state.mu.Lock()
	defer t.state.mu.Unlock()
	if t.state.ended {
		return closedConn(t.state.outermost.Conn().Config())
	}
	if !calledByRiver() {
		t.state.maybeReplaced, t.state.exposed = true, true
	}
	return t.Tx.Conn()
}

// LargeObjects implements pgx.Tx. Code can keep the result like a connection.
func (t *managedTx) LargeObjects() pgx.LargeObjects {
	t.state.mu.Lock()
	defer t.state.mu.Unlock()
	if t.state.ended {
		return closedTx().LargeObjects()
	}
	t.state.exposed = true
	return t.Tx.LargeObjects()
}

// Commit implements pgx.Tx. On a savepoint it releases the savepoint.
func (t *managedTx) Commit(ctx context.Context) error {
	if t.Tx == t.state.outermost {
		return ErrManagedTx
	}
	return t.use(ctx, "").Commit(ctx)
}

// Rollback implements pgx.Tx. On a savepoint it rolls back to the
// savepoint.
func (t *managedTx) Rollback(ctx context.Context) error {
	if t.Tx == t.state.outermost {
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
	return &managedTx{Tx: savepoint, state: t.state}, nil
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
