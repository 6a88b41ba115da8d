package pgproxy_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgproxy"
	"lumin-ingest/internal/pgtest"
)

// proxied connects to a new database through a proxy.
func proxied(t *testing.T) (*pgproxy.Proxy, *pgx.Conn) {
	t.Helper()
	proxy := pgtest.Proxy(t, pgtest.NewEmpty(t))
	return proxy, pgtest.Conn(t, proxy.URL())
}

func TestCut(t *testing.T) {
	t.Parallel()
	proxy, conn := proxied(t)
	proxy.Cut()
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("a cut connection still answers")
	}
	if err := pgtest.Conn(t, proxy.URL()).Ping(t.Context()); err != nil {
		t.Errorf("a new connection: %v", err)
	}
}

func TestSilence(t *testing.T) {
	t.Parallel()
	proxy, conn := proxied(t)
	var pid int
	if err := conn.QueryRow(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	proxy.Silence()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := conn.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a silent connection: %v, want no answer", err)
	}
	other := pgtest.Conn(t, proxy.URL())
	// The client has closed its side by now. The server must not notice.
	for range 20 {
		var there bool
		if err := other.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)`, pid).Scan(&there); err != nil {
			t.Fatal(err)
		}
		if !there {
			t.Fatal("the server noticed that the client had disconnected")
		}
	}
}

func TestDelay(t *testing.T) {
	t.Parallel()
	proxy, conn := proxied(t)
	const delay = 100 * time.Millisecond
	proxy.SetDelay(delay)
	start := time.Now()
	if err := conn.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 2*delay {
		t.Errorf("a round trip took %s, want at least %s", took, 2*delay)
	}
}

func TestSetTarget(t *testing.T) {
	t.Parallel()
	proxy, conn := proxied(t)
	if err := proxy.SetTarget("postgres://127.0.0.1:1/"); err != nil {
		t.Fatal(err)
	}
	if _, err := pgx.Connect(t.Context(), proxy.URL()); err == nil {
		t.Error("a new connection still reaches the old server")
	}
	if err := conn.Ping(t.Context()); err != nil {
		t.Errorf("an open connection: %v", err)
	}
}
