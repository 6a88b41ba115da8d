package app

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func execute(tb testing.TB, conn *pgx.Conn, sql string, args ...any) {
	tb.Helper()
	if _, err := conn.Exec(context.Background(), sql, args...); err != nil {
		tb.Fatal(err)
	}
}

// A large replay, with the program killed over and over: every run takes effect
// exactly once. LUMIN_TEST_REPLAY is
// how many runs.
func TestReplayKilled(t *testing.T) {
	t.Parallel()
	var runs int
	if _, err := fmt.Sscan(os.Getenv("LUMIN_TEST_REPLAY"), &runs); err != nil {
		t.Skip("slow: make test-replay runs it")
	}
	url := newDatabase(t)
	conn := connect(t, url)
	execute(t, conn, `
		WITH e AS (
		    INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
		    SELECT gen_random_uuid(), 'account', 'r' || n, 'signature_request_signed', now(), '{}', '', '', 'k', now()
		    FROM generate_series(1, $1::int) n RETURNING id, event_key
		)
		INSERT INTO lumin.runs (event_key, job_kind, event_id, state, error, finished_at)
		SELECT event_key, 'count_effects', id, 'failed', 'as before', now() FROM e`, runs)
	env := []string{"DATABASE_URL=" + url, "LISTEN_ADDR=127.0.0.1:0", "ADMIN_LISTEN_ADDR=127.0.0.1:0", "LUMIN_ACCOUNT_API_KEYS=" + accountKey, "GORACE=" + noSleepAtExit}
	execute(t, conn, `SELECT lumin.replay(status => 'failed', reason => 'test')`)
	settled := func() int {
		return number(t, conn, `SELECT count(*) FROM lumin.runs WHERE state = 'succeeded'`)
	}
	for range 10 {
		p := startProgram(t, env, "serve")
		target := settled() + runs/20
		eventually(t, 5*time.Minute, "some progress", func() bool { return settled() >= min(target, runs) })
		p.signal(syscall.SIGKILL)
		p.wait(10 * time.Second)
	}
	startProgram(t, env, "serve")
	eventually(t, 20*time.Minute, "the end of the order", func() bool {
		return number(t, conn, `SELECT count(*) FROM lumin.replays WHERE state = 'done'`) == 1
	})
	if n, d := number(t, conn, `SELECT count(*) FROM lumin_test.effects`), number(t, conn, `SELECT count(DISTINCT event_key) FROM lumin_test.effects`); n != runs || d != runs {
		t.Errorf("%d effects on %d events, want %d", n, d, runs)
	}
	if n := number(t, conn, `SELECT count(*) FROM lumin.replays WHERE planned = $1 AND enqueued = $1`, runs); n != 1 {
		t.Error("the order does not say what it did")
	}
}
