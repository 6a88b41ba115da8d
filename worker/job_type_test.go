package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"lumin-ingest/lumin"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/replay"
	"lumin-ingest/worker"
)

// JobFail ends a run like any other failed run.
func TestJobFail(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cause := errors.New("the request is wrong, says canary@example.com")
	plain := newPlainJob("plain_fails", func(_ context.Context, _ *worker.Event, call int) error {
		if call > 1 {
			return nil
		}
		return fmt.Errorf("so: %w", worker.JobFail(cause))
	})
	tx := newTxJob("tx_fails", func(context.Context, pgx.Tx, int) error { return worker.JobFail(nil) })
	r.start(plain, tx)
	key := r.record(1, plain, tx)
	r.waitQuiet()
	for kind, text := range map[string]string{"plain_fails": "so: the request is wrong, says [address]", "tx_fails": "failed without an error"} {
		got := r.run(kind, key)
		if got.State != "failed" || got.Attempts != 1 || got.JobState != "discarded" || got.Error != text || got.Failures != 1 || got.FailureState != "failed" {
			t.Errorf("%s: %+v", kind, got)
		}
	}
	if n := r.effects("tx_fails"); n != 0 {
		t.Errorf("%d effects of a run that failed", n)
	}
	r.waitOrder(r.order(replay.Filter{Kinds: []string{"plain_fails"}}))
	if got := r.count(`SELECT count(*) FROM lumin.runs WHERE job_kind = 'plain_fails' AND state = 'succeeded'`); got != 1 {
		t.Error("the replay did not repair it")
	}
	checkCanaries(t, r)
}

// A stop of the program does not turn a final failure into an interrupted
// attempt.
func TestJobFailAtStop(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	begun := make(chan struct{})
	fails := newPlainJob("fails", func(ctx context.Context, _ *worker.Event, _ int) error {
		close(begun)
		<-ctx.Done()
		return worker.JobFail(errNo)
	})
	rt := r.startConfig(worker.Config{}.Quick(50*time.Millisecond), fails)
	key := r.record(1, fails)
	<-begun
	r.stop(rt)
	if got := r.run("fails", key); got.State != "failed" || got.JobState != "discarded" {
		t.Errorf("%+v", got)
	}
}

// All attempts of a run have one key, including those after a replay of the
// failed run and those of another source. Only a replay of a succeeded run has
// a new key.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	keys := make(chan string, 10)
	broken := &atomic.Bool{}
	broken.Store(true)
	job := newPlainJob("mails", func(_ context.Context, e *worker.Event, _ int) error {
		keys <- e.IdempotencyKey()
		if broken.Load() {
			return errNo
		}
		return nil
	})
	r.start(job)
	key := r.record(1, job)
	r.waitQuiet() // three attempts
	broken.Store(false)
	r.waitOrder(r.order(replay.Filter{Kinds: []string{"mails"}}))
	want := key.Derive("mails").String()
	for range 4 {
		if got := <-keys; got != want {
			t.Errorf("key %s, want %s", got, want)
		}
	}
	again := replay.Filter{Status: replay.Succeeded, Kinds: []string{"mails"}}
	broken.Store(true)
	r.waitOrder(r.order(again))
	broken.Store(false)
	r.waitOrder(r.order(replay.Filter{Kinds: []string{"mails"}})) // they failed in the previous order
	r.waitOrder(r.order(again))
	for i := range 5 {
		name := "mails/1"
		if i == 4 {
			name = "mails/2"
		}
		if got, want := <-keys, key.Derive(name).String(); got != want {
			t.Errorf("call %d again: key %s, want %s", i, got, want)
		}
	}
	if len(keys) > 0 {
		t.Errorf("%d calls too many", len(keys))
	}
}

func TestLogger(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	plain := newPlainJob("plain_logs", func(ctx context.Context, _ *worker.Event, call int) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		worker.Logger(ctx).Info("canary of a logger", "call", call)
		if call == 1 {
			return errNo
		}
		return nil
	})
	tx := newTxJob("tx_logs", func(ctx context.Context, _ pgx.Tx, _ int) error {
		worker.Logger(ctx).Info("canary of a logger")
		return nil
	})
	r.start(plain, tx)
	r.record(1, plain, tx)
	r.waitQuiet()
	id := r.count(`SELECT id FROM lumin.events`)
	var got []string
	for line := range strings.Lines(r.logs.String()) {
		var entry struct {
			Msg, Kind string
			EventID   int `json:"event_id"`
			Attempt   int
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		if entry.Msg == "canary of a logger" && entry.EventID == id {
			got = append(got, fmt.Sprint(entry.Kind, entry.Attempt))
		}
	}
	if s := strings.Join(got, " "); len(got) != 3 || !strings.Contains(s, "plain_logs1") || !strings.Contains(s, "plain_logs2") || !strings.Contains(s, "tx_logs1") {
		t.Errorf("logged %q", got)
	}
	if worker.Logger(t.Context()) == nil {
		t.Error("no logger outside of a job")
	}
}

// While a kind has unfinished jobs, it cannot change between Work and WorkTx.
func TestChangedKindRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	plain := newPlainJob("changes", func(context.Context, *worker.Event, int) error { return nil })
	tx := newTxJob("changes", nil)
	rt := r.start(plain)
	r.stop(rt)
	r.record(1, plain)
	register := func(job worker.JobType) error { return registryOf(job).Register(r.ctx, r.store, r.logger) }

	err := register(tx)
	if !errors.Is(err, catalog.ErrJobTypeChanged) || !strings.Contains(err.Error(), `"changes" used Work and now uses WorkTx, while 1 jobs are under way and 0 programs work them`) {
		t.Errorf("with a live job: %v", err)
	}
	if n := r.count(`SELECT count(*) FROM lumin.job_types WHERE kind = 'changes' AND NOT transactional`); n != 1 {
		t.Error("the refused job type was written down")
	}
	if err := register(plain); err != nil {
		t.Errorf("unchanged: %v", err)
	}
	r.start(plain)
	r.waitQuiet()
	program := catalog.Program{ID: [16]byte{1}, Host: "h", Role: "worker", Kinds: []string{"changes"}}
	if err := catalog.Heartbeat(r.ctx, r.store.Pool(), program); err != nil {
		t.Fatal(err)
	}
	if err := register(tx); !errors.Is(err, catalog.ErrJobTypeChanged) {
		t.Errorf("beside a program that works it: %v", err)
	}
	if err := catalog.Forget(r.ctx, r.store.Pool(), program.ID); err != nil {
		t.Fatal(err)
	}
	if err := register(tx); err != nil {
		t.Errorf("without a live job: %v", err)
	}
	r.record(2, tx)
	r.wait("a job", func() bool { return r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = 'changes'`) == 2 })
}

// Code that never returns does not hold its transaction forever: another
// attempt claims the run.
func TestTransactionHeldTooLong(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	release := make(chan struct{})
	releaseOnce := sync.OnceFunc(func() { close(release) })
	holds := newTxJob("holds", func(_ context.Context, _ pgx.Tx, call int) error {
		if call == 1 {
			<-release // ignores its context
		}
		return nil
	})
	holds.timeout = time.Second
	neighbor := newTxJob("neighbor", nil)
	r.start(holds, neighbor)
	t.Cleanup(releaseOnce) // before the program is stopped
	key := r.record(1, holds, neighbor)
	r.wait("the first attempt", func() bool { return holds.calls.Load() == 1 })
	r.wait("the end of the transaction", func() bool {
		return r.count(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'`) == 0
	})
	// River does this when it regards the attempt as dead.
	r.exec(`UPDATE lumin.river_job SET state = 'available', scheduled_at = now() WHERE kind = 'holds'`)
	r.wait("another attempt to succeed", func() bool { return r.effects("holds") == 1 })
	releaseOnce()
	r.waitQuiet()
	if got := r.run("holds", key); got.State != "succeeded" || r.effects("holds") != 1 || r.effects("neighbor") != 1 {
		t.Errorf("%+v with %d effects", got, r.effects("holds"))
	}
}

// Several job types on one event do not affect each other.
func TestFanOut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	one, two := newTxJob("one", nil), newTxJob("two", func(context.Context, pgx.Tx, int) error { return errNo })
	plain := newPlainJob("three", func(context.Context, *worker.Event, int) error { return nil })
	r.start(one, two, plain)
	key := r.record(1, one, two, plain)
	r.waitQuiet()
	if a, b, c := r.run("one", key).State, r.run("two", key).State, r.run("three", key).State; a != "succeeded" || b != "failed" || c != "succeeded" {
		t.Errorf("ended %s, %s, %s", a, b, c)
	}
	jobs := registryOf(one, two, plain).Route("account", lumin.EventType("signature_request_from_the_future"))
	if len(jobs) != 3 {
		t.Errorf("an unknown type has %d jobs, want 3", len(jobs))
	}
}

// A run that is snoozed with a reason shows the reason.
func TestSnoozeWithReason(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	busy := newPlainJob("busy", func(context.Context, *worker.Event, int) error {
		return fmt.Errorf("it answered 429: %w", river.JobSnooze(time.Hour))
	})
	quiet := newPlainJob("quiet", func(context.Context, *worker.Event, int) error { return river.JobSnooze(time.Hour) })
	r.start(busy, quiet)
	r.record(1, busy, quiet)
	r.wait("both snoozes", func() bool {
		return r.count(`SELECT count(*) FROM lumin.river_job WHERE kind IN ('busy', 'quiet') AND state = 'scheduled'`) == 2
	})
	if n := r.count(`SELECT count(*) FROM lumin.runs WHERE state = 'pending' AND
		attempts = 0 AND CASE job_kind WHEN 'busy' THEN error LIKE 'it answered 429%' ELSE error IS NULL END`); n != 2 {
		t.Error(r.rows(`SELECT job_kind, state, error FROM lumin.runs`))
	}
}
