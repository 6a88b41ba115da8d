package store_test

import (
	"context"
	"testing"
	"time"

	"lumin-ingest/internal/pgdev"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
	"lumin-ingest/store"
)

// ownServer starts a server with our schema for a test that damages it.
func ownServer(tb testing.TB, cfg pgdev.Config) *pgdev.Server {
	tb.Helper()
	server, err := pgdev.Start(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := server.Close(); err != nil {
			tb.Error(err)
		}
	})
	if err := migrations.Up(tb.Context(), server.URL()); err != nil {
		tb.Fatal(err)
	}
	return server
}

// recovers records with the same pool until it succeeds.
func recovers(t *testing.T, r *store.Recorder, d store.Delivery) {
	t.Helper()
	eventually(t, "deliveries are recorded again", func() bool {
		_, err := r.Record(t.Context(), d)
		return err == nil
	})
}

func TestStoppedServer(t *testing.T) {
	t.Parallel()
	for _, mode := range []pgdev.ShutdownMode{pgdev.Kill, pgdev.Fast} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			server := ownServer(t, pgdev.Config{})
			s := storeOn(t, pgtest.Pool(t, server.URL()))
			r := newRecorder(t, s)
			mustRecord(t, r, delivery(1, "book"))
			if err := server.Halt(mode); err != nil {
				t.Fatal(err)
			}
			for range 10 { // more than the connections of the pool
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				_, err := r.Record(ctx, delivery(2, "book"))
				cancel()
				wantError(t, err, store.ErrUnavailable)
			}
			if err := server.Resume(t.Context()); err != nil {
				t.Fatal(err)
			}
			recovers(t, r, delivery(2, "book"))
			wantTally(t, s, tally{Events: 2, Runs: 2, Jobs: 2})
		})
	}
}

func TestReadOnlyServer(t *testing.T) {
	t.Parallel()
	server := ownServer(t, pgdev.Config{})
	s := storeOn(t, pgtest.Pool(t, server.URL()))
	admin := pgtest.Pool(t, server.URL())
	r := newRecorder(t, s)
	mustRecord(t, r, delivery(1, "book"))
	connections := s.Pool().Stat().NewConnsCount()

	readOnly := func(setting string) {
		exec(t, admin, `ALTER SYSTEM SET default_transaction_read_only = `+setting)
		exec(t, admin, `SELECT pg_reload_conf()`)
		eventually(t, "the server has reread its settings", func() bool {
			return value[string](t, s.Pool(), `SHOW default_transaction_read_only`) == setting
		})
	}
	readOnly("on")
	_, err := r.Record(t.Context(), delivery(2, "book"))
	wantError(t, err, store.ErrUnavailable)
	eventually(t, "the connection to the read-only server is closed", func() bool {
		exec(t, s.Pool(), `SELECT 1`)
		return s.Pool().Stat().NewConnsCount() > connections
	})
	readOnly("off")
	recovers(t, r, delivery(2, "book"))
	wantTally(t, s, tally{Events: 2, Runs: 2, Jobs: 2})
}
