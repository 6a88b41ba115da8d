package store_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
)

func TestFullQueue(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := newRecorder(t, s)
	release := blockFlushers(t, s, r)
	var callers sync.WaitGroup
	for n := range store.MaxQueued {
		callers.Go(func() {
			if _, err := r.Record(t.Context(), delivery(n)); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "the queue is full", func() bool { return r.Waiting() == store.MaxQueued })
	_, err := r.Record(t.Context(), delivery(store.MaxQueued))
	wantError(t, err, store.ErrOverloaded)
	release()
	callers.Wait()
	wantTally(t, s, tally{Events: store.MaxQueued + store.Flushers})

	// The queue has room again, and refused deliveries are not stored.
	if receipt := mustRecord(t, r, delivery(store.MaxQueued)); receipt.Status != store.Recorded {
		t.Errorf("%+v, want recorded", receipt)
	}
}

func TestFullQueueOfLargeBodies(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := newRecorder(t, s)
	release := blockFlushers(t, s, r)
	const size = 4 << 20
	large := func(n int) store.Delivery {
		d := delivery(n)
		d.Payload = make([]byte, size)
		return d
	}
	var callers sync.WaitGroup
	for n := range store.MaxQueuedBytes / size {
		callers.Go(func() {
			if _, err := r.Record(t.Context(), large(n)); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "the queue is full", func() bool { return r.Waiting() == store.MaxQueuedBytes/size })
	_, err := r.Record(t.Context(), delivery(1000))
	wantError(t, err, store.ErrOverloaded)
	release()
	callers.Wait()
	mustRecord(t, r, large(1000))
}

func TestCallerTimesOut(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := newRecorder(t, s)
	release := blockFlushers(t, s, r)
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() {
		_, err := r.Record(ctx, delivery(1, "book"))
		answered <- err
	}()
	eventually(t, "the delivery waits", func() bool { return r.Waiting() == 1 })
	cancel()
	err := <-answered
	wantError(t, err, store.ErrTimeout)
	wantError(t, err, context.Canceled)
	release()
	eventually(t, "the delivery is written", func() bool { return count(t, s).Jobs == 1 })
	wantTally(t, s, tally{Events: 1 + store.Flushers, Runs: 1, Jobs: 1})
}

func TestCloseWritesQueue(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := store.NewRecorder(s, silent, nil)
	release := blockFlushers(t, s, r)
	const deliveries = 50
	var callers sync.WaitGroup
	for n := range deliveries {
		callers.Go(func() {
			if _, err := r.Record(t.Context(), delivery(n)); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "all wait", func() bool { return r.Waiting() == deliveries })
	closed := make(chan struct{})
	go func() {
		r.Close()
		close(closed)
	}()
	eventually(t, "further deliveries are refused", func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := r.Record(ctx, delivery(0)) // a repetition, if it is queued before Close
		return errors.Is(err, store.ErrOverloaded)
	})
	select {
	case <-closed:
		t.Error("Close returned while deliveries wait")
	default:
	}
	release()
	callers.Wait()
	<-closed
	r.Close() // a second time
	if got := count(t, s).Events; got != deliveries+store.Flushers {
		t.Errorf("%d events, want %d", got, deliveries+store.Flushers)
	}
}

// Not parallel, because it counts all goroutines of the program.
//
//nolint:paralleltest // see above
func TestCloseEndsGoroutines(t *testing.T) {
	s := newStore(t)
	exec(t, s.Pool(), `SELECT 1`)
	before := goleak.IgnoreCurrent()
	r := store.NewRecorder(s, silent, nil)
	mustRecord(t, r, delivery(1))
	r.Close()
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}

func TestRecorderMetrics(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	registry := prometheus.NewRegistry()
	r := store.NewRecorder(s, silent, registry)
	defer r.Close()
	release := blockFlushers(t, s, r)
	var callers sync.WaitGroup
	for n := range 10 {
		callers.Go(func() { mustRecord(t, r, delivery(n)) })
	}
	eventually(t, "all wait", func() bool { return r.Waiting() == 10 })
	release()
	callers.Wait()
	r.Close()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		h := family.GetMetric()[0].GetHistogram()
		got[family.GetName()+"_count"] = float64(h.GetSampleCount())
		got[family.GetName()+"_sum"] = h.GetSampleSum()
	}
	// The batches that blocked the flushers, and one batch of ten or two
	// smaller ones.
	if n := got["lumin_record_batch_size_count"]; n < 3 || n > 4 {
		t.Errorf("%v transactions, want 3 or 4", n)
	}
	if n := got["lumin_record_batch_size_sum"]; n != 10+store.Flushers {
		t.Errorf("%v deliveries in batches", n)
	}
	if got["lumin_record_commit_seconds_count"] != got["lumin_record_batch_size_count"] || got["lumin_record_commit_seconds_sum"] <= 0 {
		t.Errorf("times: %v", got)
	}
}

// A table that stays locked delays a caller no longer than the limit.
func TestLockedTable(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := newRecorder(t, s)
	release := lockEvents(t, s)
	start := time.Now()
	_, err := r.Record(t.Context(), delivery(1, "book"))
	wantError(t, err, store.ErrUnavailable)
	if took := time.Since(start); took > store.FlushTimeout+time.Second {
		t.Errorf("answered after %s", took)
	}
	eventually(t, "no session waits for the table", func() bool { return waitingForEvents(t, s) == 0 })
	release()
	mustRecord(t, r, delivery(1, "book"))
	wantTally(t, s, tally{Events: 1, Runs: 1, Jobs: 1})
}

// If the server ends a connection, only the batch on it fails. On a new
// connection, which still prepares its statements, no delivery fails.
func TestTerminatedBackend(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := storeOn(t, pgtest.Pool(t, url))
	r := newRecorder(t, s)
	admin := pgtest.Pool(t, pgtest.AdminURL(t, url))
	for round := range 2 { // on new connections, then on prepared ones
		release := blockFlushers(t, s, r)
		answered := make(chan error, 1)
		go func() {
			_, err := r.Record(t.Context(), delivery(1+round, "book"))
			answered <- err
		}()
		eventually(t, "the delivery waits", func() bool { return r.Waiting() == 1 })
		exec(t, admin, `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND relation = 'lumin.events'::regclass`)
		release()
		if err := <-answered; err != nil {
			t.Error(err)
		}
		if round == 0 {
			wantTally(t, s, tally{Events: 1 + store.Flushers, Runs: 1, Jobs: 1})
		}
	}
}

// Shutdown does not take as long as the queue of a database that hangs.
func TestShutdownRefusesQueue(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := newRecorder(t, s)
	release := blockFlushers(t, s, r)
	answers := make(chan error)
	for n := range 3 {
		go func() {
			_, err := r.Record(context.WithoutCancel(t.Context()), delivery(n))
			answers <- err
		}()
	}
	eventually(t, "three deliveries wait", func() bool { return r.Waiting() == 3 })
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		r.Shutdown(ctx)
	}()
	cancel()
	for range 3 {
		wantError(t, <-answers, store.ErrUnavailable)
	}
	select {
	case <-stopped:
		t.Error("Shutdown returned while transactions are under way")
	default:
	}
	release()
	<-stopped
	wantTally(t, s, tally{Events: store.Flushers})
}
