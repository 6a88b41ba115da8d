package wire_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/bench/wire"
	"lumin-ingest/internal/pgtest"
)

func connect(t *testing.T, delay time.Duration) (*wire.Proxy, *pgx.Conn) {
	t.Helper()
	proxy, err := wire.Start(pgtest.NewEmpty(t), delay)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	conn, err := pgx.Connect(t.Context(), proxy.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(t.Context()) })
	return proxy, conn
}

func TestRoundTrips(t *testing.T) {
	t.Parallel()
	proxy, conn := connect(t, 0)
	before := proxy.RoundTrips()
	for range 10 {
		if _, err := conn.Exec(t.Context(), `SELECT 1`, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}
	if trips := proxy.RoundTrips() - before; trips != 10 {
		t.Errorf("ten statements took %d round trips", trips)
	}
	before = proxy.RoundTrips()
	batch := &pgx.Batch{}
	for range 10 {
		batch.Queue(`SELECT 1`)
	}
	if err := conn.SendBatch(t.Context(), batch).Close(); err != nil {
		t.Fatal(err)
	}
	if trips := proxy.RoundTrips() - before; trips > 2 { // one to prepare
		t.Errorf("ten statements in one batch took %d round trips", trips)
	}
}

func TestDelay(t *testing.T) {
	t.Parallel()
	const delay = 40 * time.Millisecond
	_, conn := connect(t, delay)
	start := time.Now()
	if err := conn.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < delay {
		t.Errorf("a round trip took %s, want %s or more", took, delay)
	}
}
