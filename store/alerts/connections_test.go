package alerts_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgdev"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/wait"
	"lumin-ingest/store/alerts"
)

// The alert holds from nine tenths of the connections that programs may take, and
// ends with the connections. The server is small, and of this test alone.
func TestConnections(t *testing.T) {
	t.Parallel()
	server, err := pgdev.Start(t.Context(), pgdev.Config{Settings: map[string]string{"max_connections": "23", "superuser_reserved_connections": "3", "autovacuum": "off"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	pool := pgtest.PoolOf(t, server.URL(), 1)
	var others []*pgx.Conn
	for range 16 { // with that of the pool: 17
		others = append(others, pgtest.Conn(t, server.URL()))
	}
	want(t, pool, alerts.Limits{}, alerts.Connections, "", "17 of the server's 20 connections are in use")
	others = append(others, pgtest.Conn(t, server.URL()))
	want(t, pool, alerts.Limits{}, alerts.Connections, "connections", "18 of the server's 20 connections are in use. Set WORKERS or QUEUES lower")
	for _, conn := range others {
		if err := conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wait.Until(t, "the server has closed them", func() bool {
		return pgtest.Value[int](t, pool, `SELECT count(*)::int FROM pg_stat_activity WHERE datid IS NOT NULL`) == 1
	})
	want(t, pool, alerts.Limits{}, alerts.Connections, "", "1 of the server's 20 connections are in use")
}
