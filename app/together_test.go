package app

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/admin/window"
	"lumin-ingest/internal/sample"
	"lumin-ingest/internal/service"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/erasure"
	"lumin-ingest/store/replay"
	"lumin-ingest/store/retention"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs/requeststate"
)

// unsteady sometimes fails after it has written its effect, until it is made
// steady. Its second attempt would come in an hour.
type unsteady struct {
	worker.Defaults
	steady *atomic.Bool
}

func (unsteady) Kind() string              { return "unsteady" }
func (unsteady) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }
func (unsteady) MaxAttempts() int          { return 2 }
func (unsteady) Backoff(int) time.Duration { return time.Hour }

func (u unsteady) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	_, err := tx.Exec(ctx, `INSERT INTO lumin_test.effects (event_key, job_kind) VALUES ($1, 'unsteady')`, e.Key.String())
	if err == nil && !u.steady.Load() && rand.IntN(3) == 0 {
		err = errors.New("not this time")
	}
	return err
}

// together makes several changes to one database at the same time, and checks
// the result.
type together struct {
	*testing.T
	instance *instance
	url      string

	mu     sync.Mutex
	acked  [][]byte // bodies that were answered 200
	erased map[string]bool
}

// The promise holds while ingest, replays, their cancellation, retention and
// erasures run at the same time, and there is no deadlock. LUMIN_TEST_TOGETHER
// sets the duration.
func TestTogether(t *testing.T) {
	t.Parallel()
	length := 5 * time.Second
	if text := os.Getenv("LUMIN_TEST_TOGETHER"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	url := newDatabase(t)
	job := unsteady{steady: &atomic.Bool{}}
	w := &together{T: t, url: url, erased: map[string]bool{}}
	w.instance = startInstance(t, url, func(cfg *service.Config) {
		cfg.Registry = worker.NewRegistry()
		cfg.Registry.AddBatch(requeststate.JobType{})
		cfg.Registry.AddTx(countEffects{})
		cfg.Registry.AddTx(job)
	})
	w.instance.waitReady(t)
	ctx, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	var all sync.WaitGroup
	for _, do := range []func(context.Context) error{w.send, w.send, w.replay, w.erase, w.age, w.retain} {
		all.Go(func() {
			for ctx.Err() == nil {
				// Operations that have begun are completed.
				if err := do(context.WithoutCancel(ctx)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	job.steady.Store(true)
	w.settle()
	w.check()
}

func (w *together) store() *store.Store { return w.instance.Store() }

// send delivers a new event, or an earlier one again.
func (w *together) send(context.Context) error {
	id := sample.RandomHex(10)
	body := fmt.Appendf(nil, `{"event":{"event_time":%d,"event_type":"signature_request_signed"},"signature_request":`+
		`{"signature_request_id":%q,"title":"of %s","signers":[{"email":"%s@example.com"}]}}`, time.Now().UnixMilli(), id, id, id)
	w.mu.Lock()
	again := len(w.acked) > 0 && rand.IntN(4) == 0
	if again {
		body = w.acked[rand.IntN(len(w.acked))]
	}
	w.mu.Unlock()
	url, key := w.instance.accountURL(), sample.AccountKey
	if rand.IntN(2) == 0 {
		url, key = w.instance.appURL(), sample.AppSecret
	}
	r, err := post(url, body, lumin.Sign(body, key))
	if err != nil || r.code != 200 {
		return fmt.Errorf("a delivery was answered %d %s, %w", r.code, r.body, err)
	}
	if !again {
		w.mu.Lock()
		w.acked = append(w.acked, body)
		w.mu.Unlock()
	}
	return nil
}

// replay replays failed or retrying runs, and sometimes cancels the replay.
func (w *together) replay(ctx context.Context) error {
	status := []replay.Status{replay.Failed, replay.Retrying}[rand.IntN(2)]
	id, err := replay.New(w.store()).Place(ctx, replay.NewOrder{Filter: replay.Filter{Status: status}, Reason: "test"})
	if err != nil {
		return err
	}
	<-time.After(time.Duration(rand.IntN(200)) * time.Millisecond)
	if rand.IntN(3) == 0 {
		if err := replay.New(w.store()).Cancel(ctx, id); err != nil && !errors.Is(err, replay.ErrEnded) {
			return err
		}
	}
	return nil // an order is not over while a run of it waits for its next attempt
}

func (w *together) over(ctx context.Context, id int64) error {
	for range 600 {
		order, err := replay.New(w.store()).Get(ctx, id)
		switch {
		case err != nil:
			return err
		case order.State == "refused" || order.State == "failed":
			return fmt.Errorf("replay %d %s: %s", id, order.State, order.Error)
		case order.Finished():
			return nil
		}
		<-time.After(50 * time.Millisecond)
	}
	return fmt.Errorf("replay %d is not over", id)
}

// erase erases one of the signature requests, by its id or its signer's
// address.
func (w *together) erase(ctx context.Context) error {
	<-time.After(20 * time.Millisecond)
	w.mu.Lock()
	if len(w.acked) == 0 {
		w.mu.Unlock()
		return nil
	}
	body := w.acked[rand.IntN(len(w.acked))]
	w.mu.Unlock()
	envelope, err := lumin.DecodeEnvelope(body)
	if err != nil {
		return err
	}
	subject := erasure.Subject{SignatureRequestIDs: []string{envelope.SignatureRequestID}}
	if rand.IntN(2) == 0 {
		subject = erasure.Subject{Email: envelope.SignatureRequestID + "@example.com"}
	}
	w.mu.Lock()
	w.erased[envelope.SignatureRequestID] = true
	w.mu.Unlock()
	plan, err := erasure.NewPlan(ctx, w.store().Pool(), subject)
	if err != nil || plan.Empty() {
		return err
	}
	id, err := plan.Order(ctx, w.store().Pool(), "test", "")
	if err != nil {
		return err
	}
	e, err := awaitErasure(ctx, window.New(w.store()), id)
	if err == nil && e.FinishedAt == nil {
		err = fmt.Errorf("erasure %d is not finished", id)
	}
	return err
}

// age creates events that are past their retention age.
func (w *together) age(ctx context.Context) error {
	<-time.After(50 * time.Millisecond)
	_, err := w.store().Pool().Exec(ctx, `
		WITH e AS (
		    INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
		    SELECT gen_random_uuid(), 'account', 'old-' || n, 'signature_request_signed', now() - n * interval '1 day', '{}', '', '', 'k', now() - n * interval '1 day'
		    FROM generate_series(101, 500, 4) n RETURNING id, event_key
		), d AS (
		    INSERT INTO lumin.redeliveries (event_id, payload_sha256, differs, payload, count, first_at, last_at) SELECT id, '', 'content', '{}', 1, now(), now() FROM e
		)
		INSERT INTO lumin.runs (event_key, job_kind, event_id, state, finished_at) SELECT event_key, 'count_effects', id, 'succeeded', now() FROM e`)
	return err
}

func (w *together) retain(ctx context.Context) error {
	<-time.After(20 * time.Millisecond)
	_, err := retention.Run(ctx, w.store().Pool(), retention.Policy{Payloads: 100 * 24 * time.Hour, Events: 400 * 24 * time.Hour}, time.Now())
	return err
}

// settle replays until no run is left to replay.
func (w *together) settle() {
	w.Helper()
	ctx := context.Background()
	conn := connect(w.T, w.url)
	eventually(w.T, time.Minute, "all runs are settled", func() bool {
		for _, status := range []replay.Status{replay.Retrying, replay.Failed} {
			id, err := replay.New(w.store()).Place(ctx, replay.NewOrder{Filter: replay.Filter{Status: status}, Reason: "test"})
			if err := errors.Join(err, w.over(ctx, id)); err != nil {
				w.Fatal(err)
			}
		}
		return number(w.T, conn, `SELECT count(*) FROM lumin.runs WHERE state IN ('pending', 'failed')`) == 0
	})
	if err := w.retain(ctx); err != nil {
		w.Fatal(err)
	}
}

func (w *together) check() {
	w.Helper()
	conn := connect(w.T, w.url)
	var kept, gone []string // event keys
	for _, body := range w.acked {
		envelope, err := lumin.DecodeEnvelope(body)
		if err != nil {
			w.Fatal(err)
		}
		if key := envelope.Key().String(); w.erased[envelope.SignatureRequestID] {
			gone = append(gone, key)
		} else {
			kept = append(kept, key)
		}
	}
	w.Logf("%d events kept, %d erased, %d replay orders", len(kept), len(gone), number(w.T, conn, `SELECT count(*) FROM lumin.replays`))
	if len(gone) == 0 || len(kept) == 0 {
		w.Error("too little has happened to tell anything")
	}
	const effects = `SELECT count(*) FROM lumin_test.effects WHERE event_key = ANY ($1::uuid[])`
	wantNumber(w.T, conn, len(kept), `SELECT count(DISTINCT event_key) FROM lumin.events WHERE event_key = ANY ($1::uuid[]) AND payload IS NOT NULL`, kept)
	wantNumber(w.T, conn, 2*len(kept), effects, kept)
	wantNumber(w.T, conn, 0, `SELECT count(*) FROM lumin.runs WHERE event_key = ANY ($1::uuid[]) AND state <> 'succeeded'`, kept)
	wantNumber(w.T, conn, 0, `SELECT count(*) FROM lumin.events WHERE event_key = ANY ($1::uuid[]) AND payload IS NOT NULL`, gone)
	wantNumber(w.T, conn, len(gone), `SELECT count(DISTINCT event_key) FROM lumin.events WHERE event_key = ANY ($1::uuid[])`, gone)
	wantNumber(w.T, conn, 0, `SELECT count(*) FROM (SELECT FROM lumin_test.effects GROUP BY event_key, job_kind HAVING count(*) > 1) twice`)
	wantNumber(w.T, conn, 0, `SELECT count(*) FROM lumin.erasures WHERE finished_at IS NULL`)
	wantNumber(w.T, conn, 0, `SELECT count(*) FROM lumin.events WHERE signature_request_id LIKE 'old-%' AND (payload IS NOT NULL OR received_at < now() - interval '401 days')`)
	wantNumber(w.T, conn, 0, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`)
}
