package worker_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// A ROLLBACK by the code, and statements outside its transaction, cannot be
// undone: their effect occurs once per attempt. The attempt does not count as a
// success.
func TestRawRollbackOnTheConnection(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := newTxJob("raw", func(ctx context.Context, tx pgx.Tx, _ int) error {
		if _, err := tx.Conn().Exec(ctx, `ROLLBACK`); err != nil {
			return err
		}
		_, err := tx.Conn().Exec(ctx, `INSERT INTO shop.effects VALUES ('past the transaction', gen_random_uuid())`)
		return err
	})
	r.start(job)
	key := r.record(1, job)
	r.waitQuiet()
	got := r.run("raw", key)
	if got.State != "failed" || got.Failures != 1 || !strings.Contains(got.Error, endedTx) {
		t.Errorf("%+v", got)
	}
	if inside, outside := r.effects("raw"), r.effects("past the transaction"); inside != 0 || outside != 2 {
		t.Errorf("%d effects in the transaction, %d past it; want 0, 2", inside, outside)
	}
}

// A transaction that a job type keeps is closed after the attempt.
func TestTransactionIsClosedAfterwards(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	kept := make(chan pgx.Tx, 2)
	job := newTxJob("keeps", func(ctx context.Context, tx pgx.Tx, _ int) error {
		savepoint, err := tx.Begin(ctx)
		kept <- tx
		kept <- savepoint
		return err
	})
	r.start(job)
	r.record(1, job)
	r.waitQuiet()
	for range 2 {
		if _, err := (<-kept).Exec(r.ctx, `INSERT INTO shop.effects VALUES ('later', gen_random_uuid())`); !errors.Is(err, pgx.ErrTxClosed) {
			t.Errorf("%v, want %v", err, pgx.ErrTxClosed)
		}
	}
	if r.effects("keeps") != 1 || r.effects("later") != 0 {
		t.Error("effects:", r.rows(`SELECT kind FROM shop.effects`))
	}
}
