package worker_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/wait"
	"lumin-ingest/worker"
)

// After many jobs with every outcome, memory and goroutines are at the same
// level as after the first ones. LUMIN_TEST_JOBS is the number of jobs.
func TestMemoryIsFlat(t *testing.T) { //nolint:paralleltest // it measures this process
	var jobs int
	if _, err := fmt.Sscan(os.Getenv("LUMIN_TEST_JOBS"), &jobs); err != nil {
		t.Skip("slow: make test-memory-jobs runs it")
	}
	r := newRig(t)
	r.logger = slog.New(slog.DiscardHandler)
	tx := newTxJob("tx_ends", func(_ context.Context, _ pgx.Tx, call int) error { return endOf(call) })
	plain := newPlainJob("plain_ends", func(_ context.Context, _ *worker.Event, call int) error { return endOf(call) })
	r.startConfig(worker.Config{}, tx, plain)

	const parts = 10
	var heap [parts]uint64
	var goroutines [parts]int
	for part := range parts {
		r.enqueueMany(part*jobs/parts/2, (part+1)*jobs/parts/2, "tx_ends", "plain_ends")
		r.waitLong(func() bool { return r.count(`SELECT count(*) FROM lumin.runs WHERE state = 'pending'`) == 0 })
		runtime.GC()
		runtime.GC() // memory that finalizers have released
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		heap[part], goroutines[part] = stats.HeapAlloc, runtime.NumGoroutine()
		t.Logf("%7d jobs: heap %.1f MiB, %d goroutines", (part+1)*jobs/parts, float64(stats.HeapAlloc)/(1<<20), goroutines[part])
	}
	if settled, first := heap[parts-1], heap[1]; settled > first+2<<20 {
		t.Errorf("the heap has grown from %d to %d bytes", first, settled)
	}
	if settled, first := goroutines[parts-1], goroutines[1]; settled > first+10 {
		t.Errorf("from %d to %d goroutines", first, settled)
	}
}

// endOf ends the call with this number: one in a hundred with an error, one in
// a hundred with a panic.
func endOf(call int) error {
	switch call % 100 {
	case 1:
		return errNo
	case 2:
		panic("no")
	}
	return nil
}

// enqueueMany stores events with runs and jobs, without the recorder.
func (r *rig) enqueueMany(from, to int, kinds ...string) {
	r.t.Helper()
	r.exec(`
		WITH e AS (
		    INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
		    SELECT gen_random_uuid(), 'account', 'r' || n, 'signature_request_signed', now(), '{}', '', '', 'k', now()
		    FROM generate_series($1::int + 1, $2::int) n RETURNING id, event_key
		), r AS (
		    INSERT INTO lumin.runs (event_key, job_kind, event_id)
		    SELECT event_key, k, id FROM e, unnest($3::text[]) k RETURNING event_key, job_kind
		)
		INSERT INTO lumin.river_job (args, kind, max_attempts, queue)
		SELECT jsonb_build_object('event_key', event_key, 'replay_id', 0), job_kind, 3, 'default' FROM r`, from, to, kinds)
}

// waitLong is wait for conditions that take minutes.
func (r *rig) waitLong(done func() bool) {
	r.t.Helper()
	wait.Within(r.t, 10*time.Minute, "the jobs end", done)
}
