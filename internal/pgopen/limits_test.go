package pgopen_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"lumin-ingest/internal/pgopen"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/wait"
)

// oddTimeouts sets every timeout that a role can have, for a database and its
// owner, so low that nothing would work.
const oddTimeouts = `DO $$
DECLARE setting text;
BEGIN
	FOREACH setting IN ARRAY ARRAY['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout'] LOOP
		IF current_setting(setting, true) IS NOT NULL THEN
			EXECUTE format('ALTER ROLE %I IN DATABASE %I SET %s = 1', (SELECT datdba::regrole FROM pg_database WHERE datname = current_database()), current_database(), setting);
		END IF;
	END LOOP;
END $$`

// The timeouts of a session are those of its pool, whatever the role and the URL
// have, and also after a reset.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	address := pgtest.NewEmpty(t)
	pgtest.Exec(t, pgtest.Pool(t, pgtest.AdminURL(t, address)), oddTimeouts)
	address = with(t, address, "statement_timeout=2&Lock_Timeout=2&idle_session_timeout=2&options=-c%20statement_timeout%3D2%20-c%20lock_timeout%3D2")
	limits := pgopen.Options{MaxConns: 1, StatementTimeout: 3 * time.Second, LockTimeout: 2 * time.Second, IdleInTransaction: 4 * time.Second, NoJIT: true}
	want := map[string]string{
		"statement_timeout": "3s", "lock_timeout": "2s", "idle_in_transaction_session_timeout": "4s",
		"idle_session_timeout": "0", "transaction_timeout": "0",
		"jit": "off",
	}
	wantTimeouts := func(conn *pgx.Conn, limits map[string]string) {
		t.Helper()
		for _, reset := range []string{`SELECT 1`, `SET statement_timeout = 5; SET lock_timeout = 5; RESET ALL`} {
			if _, err := conn.Exec(t.Context(), reset+"; "+pgopen.AfterReset(conn), pgx.QueryExecModeSimpleProtocol); err != nil {
				t.Fatal(err)
			}
			for setting, want := range limits {
				got := pgtest.Value[string](t, conn, `SELECT coalesce(current_setting($1, true), $2)`, setting, want) // older servers lack one
				if got != want {
					t.Errorf("after %s: %s is %s, want %s", reset, setting, got, want)
				}
			}
		}
	}
	single, err := pgopen.Conn(t.Context(), address, limits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = single.Close(context.Background()) })
	wantTimeouts(single, want)
	pooled, err := open(t, address, limits).Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer pooled.Release()
	wantTimeouts(pooled.Conn(), want)
	_, err = pooled.Exec(t.Context(), `SELECT pg_sleep(30)`)
	var canceled *pgconn.PgError
	if !errors.As(err, &canceled) || canceled.Code != pgerrcode.QueryCanceled {
		t.Errorf("a statement beyond its timeout: %v", err)
	}

	unlimited, err := open(t, address, pgopen.Options{}).Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer unlimited.Release()
	wantTimeouts(unlimited.Conn(), map[string]string{"statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "30s", "idle_session_timeout": "0"})
}

// The timeout of statements does not end the wait of a COMMIT. It would be
// answered like a success, although no standby has it yet.
func TestTimeoutSparesCommit(t *testing.T) {
	t.Parallel()
	pool := open(t, pgtest.NewEmpty(t), pgopen.Options{StatementTimeout: 200 * time.Millisecond})
	pgtest.Exec(t, pool, `CREATE TABLE t ()`)
	pgtest.Exec(t, pool, `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.6); RETURN NULL; END $$`)
	pgtest.Exec(t, pool, `CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()`)
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO t DEFAULT VALUES`)
		return err
	})
	if n := pgtest.Value[int](t, pool, `SELECT count(*) FROM t`); err != nil || n != 1 {
		t.Errorf("%d rows after a slow commit: %v", n, err)
	}
}

// A pool keeps connections that nothing has used yet.
func TestKeptConns(t *testing.T) {
	t.Parallel()
	pool := open(t, pgtest.NewEmpty(t), pgopen.Options{MaxConns: 4, KeptConns: 2})
	wait.Within(t, 20*time.Second, "two connections are open", func() bool { return pool.Stat().IdleConns() == 2 })
}
