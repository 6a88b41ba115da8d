package pgopen_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgopen"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/wait"
)

// The session is prepared like the connections of the pool, and the server ends it
// when it is silent.
func TestOwnSession(t *testing.T) {
	t.Parallel()
	address := pgtest.NewEmpty(t)
	config := open(t, address, pgopen.Options{}).Config()
	config.BeforeConnect = func(_ context.Context, config *pgx.ConnConfig) error {
		config.RuntimeParams["application_name"] = "before"
		return nil
	}
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `SET search_path = after`)
		return err
	}
	pool, err := pgopen.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	conn, err := pgopen.OwnSession(t.Context(), pool, 9*time.Second, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	for name, want := range map[string]string{
		"tcp_user_timeout": "30000", "application_name": "before", "search_path": "after", "statement_timeout": "9s",
	} {
		if got := show(t, conn, name); got != want {
			t.Errorf("%s is %s", name, got)
		}
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
	if _, err := pgopen.OwnSession(t.Context(), pool, time.Minute, time.Minute); !errors.Is(err, pgopen.ErrPooler) {
		t.Errorf("error %v", err)
	}
}
