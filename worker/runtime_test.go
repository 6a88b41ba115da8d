package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// effect inserts one row per call into a table of its own.
type effect struct {
	worker.Defaults
	kind string
	work func(ctx context.Context, tx pgx.Tx, call int) error
	n    *atomic.Int32
}

func (j effect) Kind() string            { return j.kind }
func (effect) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }
func (effect) MaxAttempts() int          { return 3 }
func (effect) Backoff(int) time.Duration { return time.Millisecond }
func (j effect) WorkTx(ctx context.Context, tx pgx.Tx, e *store.Event) error {
	call := int(j.n.Add(1))
	if _, err := tx.Exec(ctx, `INSERT INTO effects (kind, event_id) VALUES ($1, $2)`, j.kind, e.ID); err != nil {
		return err
	}
	if j.work == nil {
		return nil
	}
	return j.work(ctx, tx, call)
}

func newEffect(kind string, work func(ctx context.Context, tx pgx.Tx, call int) error) effect {
	return effect{kind: kind, work: work, n: new(atomic.Int32)}
}

func TestThin(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.New(t))
	ctx := context.Background()
	if _, err := pool.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS public; CREATE TABLE effects (kind text, event_id bigint)`); err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := store.New(pool, logger)
	if err != nil {
		t.Fatal(err)
	}
	registry := worker.NewRegistry()
	registry.AddTx(newEffect("good", nil))
	registry.AddTx(newEffect("third_time", func(_ context.Context, _ pgx.Tx, call int) error {
		if call < 3 {
			return fmt.Errorf("call %d \x00 mail joe@example.com", call)
		}
		return nil
	}))
	registry.AddTx(newEffect("never", func(context.Context, pgx.Tx, int) error { return errors.New("no") }))
	registry.AddTx(newEffect("panics", func(context.Context, pgx.Tx, int) error { panic("oh\x00h") }))
	registry.AddTx(newEffect("commits", func(ctx context.Context, tx pgx.Tx, call int) error {
		_, err := tx.Exec(ctx, "COMMIT")
		return errors.Join(err, errors.New("after commit"))
	}))
	rt, err := worker.New(worker.Config{Store: s, Registry: registry, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	if err := rt.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer rt.Stop(ctx)
	rec := store.NewRecorder(s, logger, nil)
	defer rec.Close()
	e := lumin.Envelope{SignatureRequestID: "r", EventType: "x", EventTime: time.UnixMilli(5)}
	start := time.Now()
	if _, err := rec.Record(ctx, store.Delivery{Source: "account", Envelope: &e, Payload: []byte("{}"), Signature: []byte{1}, KeyID: "k", ReceivedAt: time.Now(), Jobs: registry.Route("account", "x")}); err != nil {
		t.Fatal(err)
	}
	for {
		var n int
		pool.QueryRow(ctx, `SELECT count(*) FROM lumin.runs WHERE state='pending'`).Scan(&n)
		if n == 0 || time.Since(start) > 20*time.Second {
			break
		}
	}
	t.Log(time.Since(start))
	rows, _ := pool.Query(ctx, `SELECT job_kind, state, attempts, coalesce(error,''), (SELECT count(*) FROM effects WHERE kind=job_kind), (SELECT count(*) FROM lumin.failures f WHERE f.job_kind=r.job_kind) FROM lumin.runs r ORDER BY 1`)
	for rows.Next() {
		v, _ := rows.Values()
		t.Log(v...)
	}
}
