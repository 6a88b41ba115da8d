package worker_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgopen"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/wait"
	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// The machine of a program dies while a job holds its run, and the server does
// not notice. Another program claims the run within a minute.
func TestMachineVanishes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	proxy := pgtest.Proxy(t, r.url)
	begun, end := make(chan struct{}), make(chan struct{})
	held := newTxJob("held", func(_ context.Context, _ pgx.Tx, call int) error {
		if call == 1 {
			close(begun)
			<-end
		}
		return nil
	})
	held.attempts = 5
	pool, err := pgopen.Pool(r.ctx, proxy.URL(), pgopen.Options{MaxConns: 12, Writes: true, IdleInTransaction: registryOf(held).LongestAttempt()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	direct := r.store
	if r.store, err = store.New(pool, r.logger); err != nil {
		t.Fatal(err)
	}
	gone := r.start(held)
	r.store = direct
	r.record(1, held)
	<-begun
	proxy.Silence()
	if err := proxy.SetTarget("postgres://127.0.0.1:1/x"); err != nil { // the machine does not come back
		t.Fatal(err)
	}
	start := time.Now()
	r.startRegistry(worker.Config{MaxWorkers: 4}.Quick(200*time.Millisecond), registryOf(held))
	takenOver := func() bool {
		return held.calls.Load() >= 2 && r.count(`SELECT count(*) FROM lumin.runs WHERE state = 'succeeded'`) > 0
	}
	if !wait.For(time.Minute, takenOver) {
		t.Fatalf("not taken over: %v", r.rows(`SELECT kind, state, attempt, scheduled_at FROM lumin.river_job`))
	}
	t.Logf("taken over after %s", time.Since(start).Round(time.Second))
	if n := r.effects("held"); n != 1 {
		t.Errorf("%d effects", n)
	}
	close(end)
	proxy.Cut()
	r.stop(gone)
}
