package worker_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/worker"
)

// escapesOfCode are ways in which code may end the transaction that it works in,
// and change rows afterwards. Each statement inserts an effect where it can.
func escapesOfCode() map[string]func(ctx context.Context, tx pgx.Tx) error {
	const effect = `INSERT INTO shop.effects VALUES ('escaped', gen_random_uuid())`
	onTx := func(statements ...string) func(context.Context, pgx.Tx) error {
		return func(ctx context.Context, tx pgx.Tx) (err error) {
			for _, sql := range statements {
				_, execErr := tx.Exec(ctx, sql)
				err = errors.Join(err, execErr)
			}
			return err
		}
	}
	onConn := func(statements ...string) func(context.Context, pgx.Tx) error {
		return func(ctx context.Context, tx pgx.Tx) (err error) {
			conn := tx.Conn()
			for _, sql := range statements {
				_, execErr := conn.Exec(ctx, sql)
				err = errors.Join(err, execErr)
			}
			return err
		}
	}
	below := func(statements ...string) func(context.Context, pgx.Tx) error {
		return func(ctx context.Context, tx pgx.Tx) (err error) {
			conn := tx.Conn().PgConn()
			for _, sql := range statements {
				_, execErr := conn.Exec(ctx, sql).ReadAll()
				err = errors.Join(err, execErr)
			}
			return err
		}
	}
	ways := map[string]func(context.Context, pgx.Tx) error{
		"batch": func(ctx context.Context, tx pgx.Tx) error {
			b := &pgx.Batch{}
			b.Queue(`COMMIT`)
			b.Queue(effect)
			return tx.SendBatch(ctx, b).Close()
		},
		"batch that chains": func(ctx context.Context, tx pgx.Tx) error {
			b := &pgx.Batch{}
			b.Queue(`ROLLBACK AND CHAIN`)
			b.Queue(effect)
			b.Queue(`COMMIT`)
			return tx.Conn().SendBatch(ctx, b).Close()
		},
		"prepared": func(ctx context.Context, tx pgx.Tx) error {
			for _, sql := range []string{`ROLLBACK AND CHAIN`, effect, `COMMIT`} {
				if _, err := tx.Conn().Prepare(ctx, "mine", sql); err != nil {
					return err
				}
				if _, err := tx.Conn().Exec(ctx, "mine"); err != nil {
					return err
				}
				_ = tx.Conn().Deallocate(ctx, "mine")
			}
			return nil
		},
	}
	for _, statements := range [][]string{
		{`COMMIT`, effect},
		{`COMMIT; BEGIN`, effect, `COMMIT`},
		{`COMMIT; ` + effect},
		{`COMMIT /* and */ AND NO CHAIN`, effect},
		{`COMMIT AND CHAIN`, effect, `COMMIT`},
		{`END`, effect},
		{`END; BEGIN; ` + effect + `; END`},
		{`PREPARE TRANSACTION 'mine'`, `COMMIT PREPARED 'mine'`, effect},
		{`ROLLBACK`, effect},
		{`ROLLBACK; BEGIN`},
		{`ROLLBACK; BEGIN; ` + effect + `; COMMIT`},
		{`ROLLBACK`, `BEGIN`, effect, `COMMIT`},
		{`ROLLBACK AND CHAIN`, effect, `COMMIT`},
		{`ABORT AND CHAIN`, effect, `COMMIT`},
		{`ROLLBACK; BEGIN READ WRITE`, effect, `COMMIT`},
		{`ROLLBACK`, `START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ  WRITE`, effect, `COMMIT`},
		{`ROLLBACK`, `SET default_transaction_read_only = off`, effect},
		{`ROLLBACK`, `SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE`, effect},
		{`ROLLBACK`, `BEGIN`, `SELECT set_config('transaction_read_only', 'off', true)`, effect, `COMMIT`},
		{`ROLLBACK`, `RESET ALL`, effect},
		{`ROLLBACK`, `DISCARD ALL`, effect},
		{`DISCARD TEMP`, effect, `COMMIT`},
		{`DROP TABLE lumin_trial CASCADE`, effect, `COMMIT`},
		{`SET CONSTRAINTS ALL IMMEDIATE`, `COMMIT`, effect},
		{`SAVEPOINT a`, `COMMIT`, effect},
		{`CREATE TEMPORARY TABLE mine (id int) ON COMMIT DROP`, `COMMIT`, effect},
	} {
		name := strings.ReplaceAll(strings.Join(statements, " | "), effect, "effect")
		ways[name], ways[name+" on the connection"] = onTx(statements...), onConn(statements...)
		if below := below(statements...); !strings.Contains(name, "AND CHAIN") && !strings.Contains(name, "READ") && !strings.Contains(name, "read_only") &&
			!strings.Contains(name, "RESET") && !strings.Contains(name, "DISCARD") && !strings.Contains(name, "DROP TABLE") {
			ways[name+" below the connection"] = below
		}
	}
	return ways
}

// Whatever ends the transaction of a trial, nothing is committed. The trial says
// so, whether the code returns the error or not.
func TestTrialCannotBeCommitted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.tryOne(newTxJob("escapes", nil))
	before := r.contents()
	for name, way := range escapesOfCode() {
		for _, returns := range []bool{true, false} {
			got := r.tryOne(newTxJob("escapes", func(ctx context.Context, tx pgx.Tx, _ int) error {
				err := way(ctx, tx)
				if !returns {
					return nil
				}
				return err
			}))
			if got.Outcome != worker.CannotBeTried || got.Err == nil || !strings.Contains(got.Err.Error(), endedTx) {
				t.Errorf("%s, returns its error: %t: %s, %v", name, returns, got.Outcome, got.Err)
			}
			if r.exec(`DELETE FROM shop.effects`) > 0 {
				t.Errorf("%s, returns its error: %t: an effect is committed", name, returns)
			}
		}
	}
	if n := r.count(`SELECT count(*) FROM pg_prepared_xacts`); n != 0 {
		t.Errorf("%d prepared transactions", n)
	}
	r.wantContents(before)
}

// Code cannot end a transaction inside DO or CALL: PostgreSQL refuses that in a
// transaction block, in an attempt as in a trial.
func TestTrialOfProcedures(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`CREATE PROCEDURE shop.commits() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'`)
	for _, sql := range []string{
		`DO $$ BEGIN INSERT INTO shop.effects VALUES ('escaped', gen_random_uuid()); COMMIT; END $$`,
		`CALL shop.commits()`,
	} {
		got := r.tryOne(newTxJob("calls", func(ctx context.Context, tx pgx.Tx, _ int) error {
			_, err := tx.Exec(ctx, sql)
			return err
		}))
		wantTrial(t, got, worker.WouldFail, "invalid transaction termination")
	}
}
