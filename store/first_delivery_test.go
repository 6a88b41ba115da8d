package store_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgopen"
	"lumin-ingest/internal/pgproxy"
	"lumin-ingest/internal/pgtest"
)

// fillPool opens n idle connections in a pool.
func fillPool(t *testing.T, pool *pgxpool.Pool, n int) {
	t.Helper()
	conns := make([]*pgxpool.Conn, n)
	for i := range conns {
		var err error
		if conns[i], err = pool.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, conn := range conns {
		conn.Release()
	}
}

func recordingPool(t *testing.T, databaseURL string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgopen.Pool(t.Context(), databaseURL, pgopen.Options{MaxConns: 8, Writes: true, NoticeSilence: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// The server has ended all connections of the pool. Its messages are still
// unread.
func TestFirstDeliveryAfterEndedConnections(t *testing.T) {
	t.Parallel()
	address := pgtest.New(t)
	pool, admin := recordingPool(t, address), pgtest.Pool(t, address)
	s := storeOn(t, pool)
	r := newRecorder(t, s)
	const times = 20
	for n := range times {
		fillPool(t, pool, 3)
		exec(t, admin, `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'lumin-ingest'`)
		mustRecord(t, r, delivery(n+1, "book"))
	}
	wantTally(t, s, tally{Events: times, Runs: times, Jobs: times})
}

// All connections of the pool are dead, but no error shows it.
func TestFirstDeliveryAfterSilence(t *testing.T) {
	t.Parallel()
	proxy, err := pgproxy.Start(pgtest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	pool := recordingPool(t, proxy.URL())
	s := storeOn(t, pool)
	r := newRecorder(t, s)
	mustRecord(t, r, delivery(1, "book"))
	for n := range 2 { // as many as can be under way at once
		fillPool(t, pool, 4)
		proxy.Silence()
		start := time.Now()
		mustRecord(t, r, delivery(n+2, "book"))
		if took := time.Since(start); took > 4*time.Second {
			t.Errorf("recorded after %s", took)
		}
	}
	wantTally(t, s, tally{Events: 3, Runs: 3, Jobs: 3})
	proxy.Cut()
}

// All connections go silent, and their statements are prepared. Only the batch that
// notices it waits: the next one gets a new connection.
func TestNextDeliveryAfterSilence(t *testing.T) {
	t.Parallel()
	proxy := pgtest.Proxy(t, pgtest.New(t))
	pool := recordingPool(t, proxy.URL())
	r := newRecorder(t, storeOn(t, pool))
	var prepared []*pgxpool.Conn
	for n := range 3 {
		mustRecord(t, r, delivery(n, "book"))
		conn, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		prepared = append(prepared, conn)
	}
	for _, conn := range prepared {
		conn.Release()
	}
	proxy.Silence()
	if _, err := r.Record(t.Context(), delivery(3, "book")); err == nil {
		t.Fatal("a silent connection has answered")
	}
	start := time.Now()
	mustRecord(t, r, delivery(4, "book"))
	if took := time.Since(start); took > 1500*time.Millisecond {
		t.Errorf("recorded after %s", took)
	}
}

// The connection goes silent at COMMIT, so its result is unknown. The caller
// soon gets an error, and the next delivery is recorded.
func TestSilentCommit(t *testing.T) {
	t.Parallel()
	proxy, err := pgproxy.Start(pgtest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	s := storeOn(t, recordingPool(t, proxy.URL()))
	r := newRecorder(t, s)
	proxy.AtCommit(pgproxy.BlackHole, 1)
	start := time.Now()
	if _, err := r.Record(t.Context(), delivery(1, "book")); err == nil {
		t.Error("recorded without an answer to COMMIT")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("noticed after %s", took)
	}
	mustRecord(t, r, delivery(1, "book"))
	wantTally(t, s, tally{Events: 1, Runs: 1, Jobs: 1})
	proxy.Cut()
}
