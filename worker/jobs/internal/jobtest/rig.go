// Package jobtest runs job types with the real runtime on a private database.
// It is for the tests of the built-in job types.
//
//	pool := jobtest.Pool(t)
//	rig := jobtest.New(t, pool, registry, slog.LevelWarn, 10)
//	rig.Record(t, jobtest.Payload(7, lumin.SignatureRequestViewed, "id", ""))
//	rig.WaitQuiet(t)
package jobtest

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/wait"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// Rig records events, and runs their jobs until the test ends.
type Rig struct {
	Pool     *pgxpool.Pool
	Store    *store.Store
	Recorder *store.Recorder
	Registry *worker.Registry
}

// Pool connects to a private database.
func Pool(t *testing.T) *pgxpool.Pool {
	t.Helper()
	return pgtest.PoolOf(t, pgtest.New(t), 16)
}

// New runs the job types of a registry. It logs records from the given level
// on.
func New(t *testing.T, pool *pgxpool.Pool, registry *worker.Registry, level slog.Level, maxWorkers int) *Rig {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: level}))
	s, err := store.New(pool, logger)
	if err != nil {
		t.Fatal(err)
	}
	r := &Rig{Pool: pool, Store: s, Recorder: store.NewRecorder(s, logger, nil), Registry: registry}
	t.Cleanup(r.Recorder.Close)
	rt, err := worker.New(worker.Config{Store: s, Registry: registry, Logger: logger, MaxWorkers: maxWorkers})
	if err != nil {
		t.Fatal(err)
	}
	if err := rt.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rt.Stop(context.Background()) })
	return r
}

// Payload returns the body of an event. members are further members of its
// signature_request object, and may be empty.
func Payload(milliseconds int64, t lumin.EventType, id, members string) []byte {
	if members != "" {
		members = "," + members
	}
	return fmt.Appendf(nil, `{"event":{"event_time":%d,"event_type":%q},"signature_request":{"signature_request_id":%q%s}}`,
		milliseconds, t, id, members)
}

// Record records a body like a delivery of the account's webhook.
func (r *Rig) Record(t *testing.T, payload []byte) {
	t.Helper()
	r.RecordSigned(t, payload, lumin.Match{Signature: make([]byte, 32), KeyID: "k"})
}

// RecordSigned records a body with the result of verifying its signature.
func (r *Rig) RecordSigned(t *testing.T, payload []byte, match lumin.Match) {
	t.Helper()
	envelope, err := lumin.DecodeEnvelope(payload)
	if err != nil {
		t.Errorf("%s: %v", payload, err)
		return
	}
	_, err = r.Recorder.Record(context.Background(), store.Delivery{
		Source: "account", Envelope: &envelope, Payload: payload, Signature: match.Signature, KeyID: match.KeyID,
		ReceivedAt: time.Now(), Jobs: r.Registry.Route("account", envelope.EventType),
	})
	if err != nil {
		t.Error(err)
	}
}

// Count returns the result of a query that counts.
func (r *Rig) Count(t *testing.T, sql string, args ...any) int {
	t.Helper()
	return Count(t, r.Pool, sql, args...)
}

// Count returns the result of a query that counts.
func Count(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) int {
	t.Helper()
	return pgtest.Value[int](t, pool, sql, args...)
}

// WaitQuiet waits until no run is pending. It fails the test if this takes too
// long or if a run did not succeed at its first attempt.
func (r *Rig) WaitQuiet(t *testing.T) {
	t.Helper()
	quiet := func() bool { return r.Count(t, `SELECT count(*) FROM lumin.runs WHERE state = 'pending'`) == 0 }
	if !wait.For(wait.Limit, quiet) {
		var why string
		_ = r.Pool.QueryRow(context.Background(), `SELECT error FROM lumin.runs WHERE error IS NOT NULL LIMIT 1`).Scan(&why)
		t.Fatal("runs are pending: ", why)
	}
	if n := r.Count(t, `SELECT count(*) FROM lumin.runs WHERE state <> 'succeeded' OR attempts <> 1`); n > 0 {
		t.Errorf("%d runs did not succeed at once", n)
	}
}
