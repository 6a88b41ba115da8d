package pgopen_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"lumin-ingest/internal/pgopen"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/wait"
)

// The session has the settings of the pool, and the server ends it when it is
// silent.
func TestOwnSession(t *testing.T) {
	t.Parallel()
	address := pgtest.NewEmpty(t)
	pool := open(t, address, pgopen.Options{})
	conn, err := pgopen.OwnSession(t.Context(), pool, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	if got := show(t, conn, "tcp_user_timeout"); got != "30000" {
		t.Errorf("tcp_user_timeout is %s", got)
	}
	pid := int32(conn.PgConn().PID())
	if !wait.For(10*time.Second, func() bool {
		return !pgtest.Value[bool](t, pool, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)`, pid)
	}) {
		t.Error("the session is still there")
	}
}

func TestOwnSessionBehindPooler(t *testing.T) {
	t.Parallel()
	p := pgtest.Proxy(t, pgtest.NewEmpty(t))
	p.ActAsPooler()
	pool := open(t, p.URL(), pgopen.Options{})
	if _, err := pgopen.OwnSession(t.Context(), pool, time.Minute); !errors.Is(err, pgopen.ErrPooler) {
		t.Errorf("error %v", err)
	}
}
