package cleanpool

import (
	"context"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgopen"
)

// CommitCleans returns tx with a commit that also cleans the session, in one
// round trip. Afterwards call [Mark], because the connection needs no more
// cleaning.
func CommitCleans(tx pgx.Tx) pgx.Tx { return &cleaningTx{Tx: tx} }

// Of several statements pgx keeps the last result, but the first one counts
// here: the server answers ROLLBACK to the COMMIT of a transaction in which a
// statement failed.
type cleaningTx struct {
	pgx.Tx
	committed bool
}

// Commit implements pgx.Tx. Its error is pgx.ErrTxCommitRollback if nothing was
// committed. After another error of the server the transaction may be
// committed, because cleaning comes afterwards.
func (t *cleaningTx) Commit(ctx context.Context) error {
	if t.committed {
		return pgx.ErrTxClosed
	}
	conn := t.Tx.Conn()
	results, err := conn.PgConn().Exec(ctx, commitCleanSQL+"; "+pgopen.AfterReset(conn)).ReadAll()
	if len(results) > 0 && results[0].CommandTag.String() == "ROLLBACK" {
		return pgx.ErrTxCommitRollback
	}
	t.committed = err == nil
	return err
}

// Rollback implements pgx.Tx.
func (t *cleaningTx) Rollback(ctx context.Context) error {
	if t.committed {
		return pgx.ErrTxClosed
	}
	return t.Tx.Rollback(ctx)
}
