package worker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"lumin-ingest/store/retention"
	"lumin-ingest/worker"
)

// A running worker removes old data as soon as River elects it.
func TestRetention(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`INSERT INTO lumin.events (event_key, source, payload, payload_sha256, signature, key_id, received_at)
		SELECT gen_random_uuid(), 'account', '', '', '', 'k', now() - n * interval '1 day' FROM generate_series(10, 50, 20) n`)
	cfg := worker.Config{MaxWorkers: 1, Retention: retention.Policy{Payloads: 20 * 24 * time.Hour, Events: 40 * 24 * time.Hour}}
	r.startConfig(cfg.Quick(200*time.Millisecond), newBreakable("broken"))
	r.wait("retention", func() bool {
		return r.count(`SELECT count(*) FROM lumin.events`) == 2 && r.count(`SELECT count(*) FROM lumin.events WHERE payload IS NULL`) == 1
	})
}

// Even with the shortest slices, a pass skips the rows that stay and finishes.
func TestRetentionInSlices(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`INSERT INTO lumin.events (event_key, source, payload, payload_sha256, signature, key_id, received_at)
		SELECT gen_random_uuid(), 'account', '', '', '', 'k', now() - interval '50 days' + n * interval '1 second' FROM generate_series(1, 3000) n`)
	r.exec(`INSERT INTO lumin.runs (event_key, job_kind, event_id, state, finished_at) SELECT event_key, 'book', id, 'failed', now() FROM lumin.events WHERE id < 3000`)
	w := worker.Retainer(r.store, retention.Policy{Payloads: 20 * 24 * time.Hour, Events: 40 * 24 * time.Hour}, time.Nanosecond)
	slices := 1
	for ; slices < 100; slices++ {
		var snooze *river.JobSnoozeError
		err := w.Work(r.ctx, &river.Job[worker.RetainArgs]{})
		if err == nil {
			break
		}
		if !errors.As(err, &snooze) || snooze.Duration <= 0 {
			t.Fatalf("after %d slices: %v", slices, err)
		}
	}
	if n := r.count(`SELECT count(*) FROM lumin.events`); n != 2999 || slices < 6 || slices == 100 {
		t.Errorf("%d events are left after %d slices", n, slices)
	}
}

// Of two jobs in one program, the second leaves the work to the first.
func TestRetentionOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := worker.Retainer(r.store, retention.Policy{Events: time.Hour}, time.Hour)
	tx, err := r.pool.Begin(r.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(r.ctx, `LOCK TABLE lumin.events`); err != nil {
		t.Fatal(err)
	}
	first := make(chan error, 1)
	go func() { first <- w.Work(r.ctx, &river.Job[worker.RetainArgs]{}) }()
	r.wait("the first job", func() bool {
		return r.count(`SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'lumin.events'::regclass`) == 1
	})
	if err := w.Work(r.ctx, &river.Job[worker.RetainArgs]{}); !errors.Is(err, worker.ErrTurnedAway) {
		t.Error(err)
	}
	if err := errors.Join(tx.Rollback(r.ctx), <-first); err != nil {
		t.Error(err)
	}
}
