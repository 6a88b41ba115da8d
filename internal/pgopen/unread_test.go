//go:build unix

package pgopen_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgopen"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/wait"
)

func openConn(t *testing.T, address string) *pgx.Conn {
	t.Helper()
	conn, err := pgopen.Conn(t.Context(), address, pgopen.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func TestHasUnread(t *testing.T) {
	t.Parallel()
	address := pgtest.NewEmpty(t)
	conn := openConn(t, address)
	if pgopen.HasUnread(conn) {
		t.Error("a new connection has something to read")
	}
	admin := pgtest.Pool(t, pgtest.AdminURL(t, address))
	pgtest.Exec(t, admin, `SELECT pg_terminate_backend($1, 5000)`, int32(conn.PgConn().PID()))
	wait.Until(t, "the end of the session arrives", func() bool { return pgopen.HasUnread(conn) })
}

// pgx may still be reading in the background from an idle connection. The check
// must not wait for it.
func TestHasUnreadBesideReader(t *testing.T) {
	t.Parallel()
	conn := openConn(t, pgtest.NewEmpty(t))
	reading, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		close(reading)
		_, _ = conn.PgConn().Conn().Read(make([]byte, 1))
	}()
	<-reading
	for range 100 { // the reader may start late
		checked := make(chan bool, 1)
		go func() { checked <- pgopen.HasUnread(conn) }()
		select {
		case unread := <-checked:
			if unread {
				t.Fatal("something to read on an idle connection")
			}
		case <-time.After(5 * time.Second):
			t.Fatal("the check waits for the reader")
		}
	}
	_ = conn.PgConn().Conn().Close()
	<-ended
}
