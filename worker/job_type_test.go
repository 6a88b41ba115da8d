package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/replay"
	"lumin-ingest/worker"
)

// A run that is failed by its job type has failed like any other, only sooner.
func TestJobFail(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cause := errors.New("the request is wrong, says canary@example.com")
	plain := newPlainJob("plain_fails", func(_ context.Context, _ *store.Event, call int) error {
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
	mustNotSing(t, r)
}

// A stop does not make an attempt of a failure.
func TestJobFailAtStop(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	begun := make(chan struct{})
	fails := newPlainJob("fails", func(ctx context.Context, _ *store.Event, _ int) error {
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

// The attempts of a run, its replays after a failure and those of another source
// have one key; only a replay --succeeded has a new one.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	keys := make(chan string, 10)
	broken := &atomic.Bool{}
	broken.Store(true)
	job := newPlainJob("mails", func(_ context.Context, e *store.Event, _ int) error {
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
	r.waitOrder(r.order(replay.Filter{Kinds: []string{"mails"}})) // failed under the one before
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
	plain := newPlainJob("plain_logs", func(ctx context.Context, _ *store.Event, call int) error {
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

// inQueue is a plain job type in a queue of its own that counts how many of it
// run at a time.
type inQueue struct {
	*plainJob
	queue string
	most  *atomic.Int32
}

func newInQueue(queue string, gate <-chan struct{}) inQueue {
	j := inQueue{queue: queue, most: &atomic.Int32{}}
	running := &atomic.Int32{}
	j.plainJob = newPlainJob("in_"+queue, func(context.Context, *store.Event, int) error {
		now := running.Add(1)
		defer running.Add(-1)
		for {
			most := j.most.Load()
			if now <= most || j.most.CompareAndSwap(most, now) {
				break
			}
		}
		<-gate
		return nil
	})
	return j
}

func (j inQueue) Queue() string { return j.queue }

// A queue has the workers that it is given; the others are no part of it.
func TestQueues(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	gate := make(chan struct{})
	slow, wide := newInQueue("slow", gate), newInQueue("wide", gate)
	r.startConfig(worker.Config{MaxWorkers: 5, Queues: map[string]int{"slow": 2}}.Quick(time.Second), slow, wide)
	r.recordMany(1, 12, slow, wide)
	r.wait("both queues to be full", func() bool { return slow.most.Load() == 2 && wide.most.Load() == 5 })
	close(gate)
	r.waitQuiet()
	if slow.most.Load() != 2 || wide.most.Load() != 5 {
		t.Errorf("at most %d and %d at a time, want 2 and 5", slow.most.Load(), wide.most.Load())
	}
}

func TestQueuesRefused(t *testing.T) {
	t.Parallel()
	registry := registryOf(newPlainJob("plain", nil))
	for _, test := range []struct {
		queues map[string]int
		want   string
	}{
		{map[string]int{"slwo": 5}, `"slwo" is given workers, and no job waits in it; those of the job types are default`},
		{map[string]int{"default": 0}, `"default" is given 0 workers: give 1 to 1000`},
		{map[string]int{"default": 1001}, `give 1 to 1000`},
	} {
		_, err := worker.New(worker.Config{Registry: registry, Queues: test.queues})
		if !errors.Is(err, worker.ErrQueue) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: %v", test.queues, err)
		}
	}
}

func TestConnections(t *testing.T) {
	t.Parallel()
	registry := registryOf(newTxJob("tx", nil), newInQueue("slow", nil))
	cfg := worker.Config{Registry: registry, MaxWorkers: 7, Queues: map[string]int{"slow": 30}}
	if jobs, others := cfg.JobConnections(), cfg.Connections(); jobs != 7 || others < 10 || others > 16 {
		t.Errorf("%d connections for transactional job types and %d others", jobs, others)
	}
}

// noticeArgs name an order; noticeWorker sends a notice of it.
type noticeArgs struct {
	OrderID int `json:"order_id"`
}

func (noticeArgs) Kind() string { return "send_notice" }

type noticeWorker struct {
	river.WorkerDefaults[noticeArgs]
	sent chan int
}

func (w noticeWorker) Work(_ context.Context, job *river.Job[noticeArgs]) error {
	w.sent <- job.Args.OrderID
	return nil
}

// A job that WorkTx puts into the queue is there if the transaction is committed.
func TestFollowUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	decide := newTxJob("decides", func(ctx context.Context, tx pgx.Tx, call int) error {
		if _, err := river.ClientFromContext[pgx.Tx](ctx).InsertTx(ctx, tx, noticeArgs{OrderID: call}, nil); err != nil {
			return err
		}
		if call == 1 {
			return errNo // and the job of this attempt never was
		}
		return nil
	})
	sent := make(chan int, 10)
	registry := registryOf(decide)
	worker.AddFollowUp(registry, noticeWorker{sent: sent})
	r.startRegistry(worker.Config{MaxWorkers: 4}.Quick(time.Second), registry)
	r.record(1, decide)
	r.waitQuiet()
	if id := <-sent; id != 2 || len(sent) > 0 {
		t.Errorf("a notice of order %d, and %d more", id, len(sent))
	}
	if n := r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = 'send_notice'`); n != 1 {
		t.Errorf("%d jobs, want 1", n)
	}
}

// Periodic work is done by one program at a time, and a failure ends that time only.
func TestPeriodic(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var running, most, calls atomic.Int32
	second, overtake, again := make(chan struct{}), make(chan struct{}), make(chan struct{})
	for range 2 {
		registry := worker.NewRegistry()
		registry.AddPeriodic(worker.Periodic{Kind: "tidy", Every: time.Second, Timeout: time.Minute, Work: func(context.Context) error {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			switch calls.Add(1) {
			case 1:
				panic("canary@example.com")
			case 2:
				close(second)
				<-overtake // the next time has come meanwhile
			case 3:
				close(again)
			}
			return nil
		}})
		r.startRegistry(worker.Config{}.Quick(time.Second), registry)
	}
	<-second
	inserts := r.count(`SELECT last_value FROM lumin.river_job_id_seq`)
	r.wait("the next time to come", func() bool { return r.count(`SELECT last_value FROM lumin.river_job_id_seq`) > inserts })
	close(overtake)
	<-again
	if most.Load() != 1 {
		t.Errorf("%d at a time", most.Load())
	}
	if n := r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = 'tidy' AND state = 'discarded'`); n != 1 {
		t.Errorf("%d jobs failed, want 1", n)
	}
	mustNotSing(t, r)
}

func TestPeriodicRefused(t *testing.T) {
	t.Parallel()
	work := func(context.Context) error { return nil }
	for want, p := range map[string]worker.Periodic{
		"Kind must be":            {Every: time.Minute, Timeout: time.Minute, Work: work},
		"Kind is taken by *work":  {Kind: "plain", Every: time.Minute, Timeout: time.Minute, Work: work},
		"Every is 1ms":            {Kind: "tidy", Every: time.Millisecond, Timeout: time.Minute, Work: work},
		"Timeout is 0s":           {Kind: "tidy", Every: time.Minute, Work: work},
		"Work is nil":             {Kind: "tidy", Every: time.Minute, Timeout: time.Minute},
		"kept for the program it": {Kind: "lumin_tidy", Every: time.Minute, Timeout: time.Minute, Work: work},
	} {
		registry := registryOf(newPlainJob("plain", nil))
		registry.AddPeriodic(p)
		if err := registry.Err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", p, err, want)
		}
	}
}

// While jobs of it are under way, a kind cannot change between Work and WorkTx.
func TestChangedKindRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	plain := newPlainJob("changes", func(context.Context, *store.Event, int) error { return nil })
	tx := newTxJob("changes", nil)
	rt := r.start(plain)
	r.stop(rt)
	r.record(1, plain)
	register := func(job worker.JobType) error { return registryOf(job).Register(r.ctx, r.store, r.logger) }

	err := register(tx)
	if !errors.Is(err, catalog.ErrJobTypeChanged) || !strings.Contains(err.Error(), `"changes" worked by Work, works by WorkTx now, with 1 jobs under way and 0 programs at work`) {
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
	if err := catalog.See(r.ctx, r.store.Pool(), program); err != nil {
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

// Code that goes on for ever does not hold its transaction for ever: another
// attempt takes the run.
func TestTransactionHeldTooLong(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	forGood := make(chan struct{})
	letGo := sync.OnceFunc(func() { close(forGood) })
	holds := newTxJob("holds", func(_ context.Context, _ pgx.Tx, call int) error {
		if call == 1 {
			<-forGood // whatever becomes of its context
		}
		return nil
	})
	holds.timeout = 100 * time.Millisecond
	neighbor := newTxJob("neighbor", nil)
	r.start(holds, neighbor)
	t.Cleanup(letGo) // before the program is stopped
	key := r.record(1, holds, neighbor)
	r.wait("the first attempt", func() bool { return holds.calls.Load() == 1 })
	r.wait("the transaction to be over", func() bool {
		return r.count(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'`) == 0
	})
	// What River does once it takes the attempt for dead.
	r.exec(`UPDATE lumin.river_job SET state = 'available', scheduled_at = now() WHERE kind = 'holds'`)
	r.wait("another attempt to succeed", func() bool { return r.effects("holds") == 1 })
	letGo()
	r.waitQuiet()
	if got := r.run("holds", key); got.State != "succeeded" || r.effects("holds") != 1 || r.effects("neighbor") != 1 {
		t.Errorf("%+v with %d effects", got, r.effects("holds"))
	}
}

// What a newcomer might get wrong about several job types on one event.
func TestFanOut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	one, two := newTxJob("one", nil), newTxJob("two", func(context.Context, pgx.Tx, int) error { return errNo })
	plain := newPlainJob("three", func(context.Context, *store.Event, int) error { return nil })
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

// A run that is put off for a reason shows it.
func TestSnoozeWithReason(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	busy := newPlainJob("busy", func(context.Context, *store.Event, int) error {
		return fmt.Errorf("it answered 429: %w", river.JobSnooze(time.Hour))
	})
	quiet := newPlainJob("quiet", func(context.Context, *store.Event, int) error { return river.JobSnooze(time.Hour) })
	r.start(busy, quiet)
	r.record(1, busy, quiet)
	r.wait("both to be put off", func() bool {
		return r.count(`SELECT count(*) FROM lumin.river_job WHERE kind IN ('busy', 'quiet') AND state = 'scheduled'`) == 2
	})
	if n := r.count(`SELECT count(*) FROM lumin.runs WHERE state = 'pending' AND
		attempts = 0 AND CASE job_kind WHEN 'busy' THEN error LIKE 'it answered 429%' ELSE error IS NULL END`); n != 2 {
		t.Error(r.rows(`SELECT job_kind, state, error FROM lumin.runs`))
	}
}

type pointerArgs struct{ ID int }

func (a *pointerArgs) Kind() string { return fmt.Sprint("of_", a.ID) }

type pointerWorker struct {
	river.WorkerDefaults[*pointerArgs]
}

func (pointerWorker) Work(context.Context, *river.Job[*pointerArgs]) error { return nil }

func TestFollowUpRefused(t *testing.T) {
	t.Parallel()
	for want, add := range map[string]func(*worker.Registry){
		"let them be a struct":                 func(r *worker.Registry) { worker.AddFollowUp(r, pointerWorker{}) },
		"the worker is nil":                    func(r *worker.Registry) { worker.AddFollowUp[noticeArgs](r, nil) },
		"Kind is taken by worker_test.noticeW": func(r *worker.Registry) { worker.AddFollowUp(r, noticeWorker{}); worker.AddFollowUp(r, noticeWorker{}) },
	} {
		registry := worker.NewRegistry()
		add(registry)
		if err := registry.Err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// wild is a follow-up job that does what nothing should.
type wild struct{ noticeWorker }

func (w wild) Work(context.Context, *river.Job[noticeArgs]) error {
	w.sent <- 0
	runtime.Goexit()
	return nil
}

func (wild) NextRetry(*river.Job[noticeArgs]) time.Time   { panic("canary@example.com") }
func (wild) Timeout(*river.Job[noticeArgs]) time.Duration { panic("canary@example.com") }

func TestWildFollowUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	decide := newTxJob("decides", func(ctx context.Context, tx pgx.Tx, _ int) error {
		_, err := river.ClientFromContext[pgx.Tx](ctx).InsertTx(ctx, tx, noticeArgs{}, nil)
		return err
	})
	sent := make(chan int, 10)
	registry := registryOf(decide)
	worker.AddFollowUp(registry, wild{noticeWorker{sent: sent}})
	rt := r.startRegistry(worker.Config{MaxWorkers: 1}.Quick(time.Second), registry)
	r.record(1, decide)
	<-sent
	r.wait("the next attempt to be planned", func() bool {
		return r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = 'send_notice' AND state IN ('retryable', 'available') AND errors[1] ->> 'error' LIKE '%Goexit%'`) == 1
	})
	r.record(2, decide)
	r.wait("its neighbor to be worked", func() bool { return r.effects("decides") == 2 })
	r.stop(rt)
}
