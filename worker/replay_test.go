package worker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/wait"
	"lumin-ingest/store/replay"
)

// breakable is a job type that fails until it is repaired.
type breakable struct {
	*txJob
	repaired *atomic.Bool
}

func newBreakable(kind string) breakable {
	repaired := &atomic.Bool{}
	return breakable{repaired: repaired, txJob: newTxJob(kind, func(context.Context, pgx.Tx, int) error {
		if repaired.Load() {
			return nil
		}
		return errors.New("broken")
	})}
}

func (breakable) MaxAttempts() int { return 1 }

func (r *rig) order(f replay.Filter) int64 {
	r.t.Helper()
	id, err := replay.New(r.store).Place(r.ctx, replay.NewOrder{Filter: f, Reason: "test"})
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

// waitOrder waits until an order is finished and returns it.
func (r *rig) waitOrder(id int64) (order replay.Order) {
	r.t.Helper()
	r.wait(fmt.Sprintf("order %d", id), func() bool {
		var err error
		if order, err = replay.New(r.store).Get(r.ctx, id); err != nil {
			r.t.Fatal(err)
		}
		return order.Finished()
	})
	return order
}

func TestReplay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job, other := newBreakable("broken"), newBreakable("also_broken")
	r.start(job, other)
	key := r.record(1, job, other)
	r.waitQuiet()
	if got := r.run("broken", key); got.State != "failed" || got.Failures != 1 || r.effects("broken") != 0 {
		t.Fatalf("before: %+v", got)
	}
	firstFailure := r.rows(`SELECT f::text FROM lumin.failures f WHERE job_kind = 'broken'`)

	// Not repaired yet: the run fails again, once, and is not replayed forever.
	if order := r.waitOrder(r.order(replay.Filter{Kinds: []string{"broken"}})); order.Enqueued != 1 {
		t.Errorf("first order: %+v", order)
	}
	r.waitQuiet()
	if got := r.run("broken", key); got.State != "failed" || got.Failures != 2 {
		t.Errorf("after the first order: %+v", got)
	}

	// When an interrupted order continues, it skips runs that have failed in
	// it.
	r.exec(`UPDATE lumin.replays SET state = 'running', finished_at = NULL`)
	r.exec(`INSERT INTO lumin.river_job (args, kind, max_attempts, queue) SELECT args, kind, max_attempts, queue FROM lumin.river_job WHERE kind = 'lumin_replay'`)
	if order := r.waitOrder(1); order.Enqueued != 1 {
		t.Errorf("first order, taken up again: %+v", order)
	}

	job.repaired.Store(true)
	order := r.waitOrder(r.order(replay.Filter{Kinds: []string{"broken"}}))
	r.waitQuiet()
	if got := r.run("broken", key); order.Enqueued != 1 || got.State != "succeeded" || got.ReplayID != order.ID || got.Failures != 2 || got.Error != "" {
		t.Errorf("after the second order: %+v, %+v", got, order)
	}
	if all := r.rows(`SELECT f::text FROM lumin.failures f WHERE job_kind = 'broken' ORDER BY id`); all[0] != firstFailure[0] {
		t.Errorf("the failure was %q and is %q", firstFailure[0], all[0])
	}

	if order := r.waitOrder(r.order(replay.Filter{Kinds: []string{"broken"}})); order.State != "done" || order.Enqueued != 0 {
		t.Errorf("third order: %+v", order)
	}
	// Jobs of earlier orders have no effect.
	r.exec(`INSERT INTO lumin.river_job (args, kind, max_attempts)
		SELECT jsonb_build_object('event_key', $1::text, 'replay_id', n), 'broken', 1 FROM generate_series(0, $2::int) n`, key.String(), order.ID)
	r.waitQuiet()
	if r.effects("broken") != 1 || job.calls.Load() != 3 {
		t.Errorf("%d effects, %d calls; want 1, 3", r.effects("broken"), job.calls.Load())
	}
	if got := r.run("also_broken", key); got.State != "failed" || got.Failures != 1 || other.calls.Load() != 1 {
		t.Errorf("the job type without an order: %+v", got)
	}
}

func TestTwoOrdersAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := newBreakable("broken")
	r.start(job)
	r.recordMany(1, 50, job)
	r.waitQuiet()
	job.repaired.Store(true)
	// In one transaction, so that their jobs start together.
	r.exec(`INSERT INTO lumin.replays (status) SELECT 'failed' FROM generate_series(1, 2)`)
	enqueued := r.waitOrder(1).Enqueued + r.waitOrder(2).Enqueued
	r.waitQuiet()
	if enqueued != 50 || r.effects("broken") != 50 {
		t.Errorf("%d enqueued, %d effects; want 50 each", enqueued, r.effects("broken"))
	}
}

// Recording notifies the workers: they work an event long before they poll.
func TestRecordingWakesWorkers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := newBreakable("broken")
	job.repaired.Store(true)
	r.startUnpolled(job)
	n := 0
	// An event from before the client listens may be missed. One of them is not.
	wait.Until(t, "an event was worked", func() bool {
		n++
		r.record(n, job)
		return wait.For(time.Second, func() bool { return r.effects("broken") > 0 })
	})
}

// An order is a row that any client may insert. It is noticed without polling:
// River polls once in this test, at the start.
func TestOrderBySQL(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := newBreakable("broken")
	r.startUnpolled(job)
	r.record(1, job)
	started := func() bool { return r.count(`SELECT count(*) FROM lumin.replays WHERE state = 'done'`) > 0 }
	// An order from before the client listens may be missed. One of them is
	// not.
	wait.Until(t, "an order has started", func() bool {
		r.exec(`INSERT INTO lumin.replays (job_kinds, event_types) VALUES ('{broken}', '{no_such_type}')`)
		return wait.For(time.Second, started)
	})
	r.wait("the jobs of all orders", func() bool {
		return r.count(`SELECT count(*) FROM lumin.river_job WHERE queue = 'lumin' AND state <> 'completed'`) == 0
	})
	r.exec(`INSERT INTO lumin.replays (job_kinds) VALUES ('{broken}')`)
	r.wait("the order, much sooner than the next poll", func() bool {
		return r.count(`SELECT count(*) FROM lumin.replays WHERE event_types = '{}' AND state = 'done'`) == 1
	})
}

// During a deployment, an order for a job type that only the other program
// knows waits for that program. So does an order for all job types.
func TestOrderWaitsForOtherProgram(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	old, added := newBreakable("old"), newBreakable("added")
	old.repaired.Store(true)
	added.repaired.Store(true)
	r.record(1, old, added)
	r.exec(`DELETE FROM lumin.river_job`)
	r.exec(`UPDATE lumin.runs SET state = 'failed', finished_at = now()`)
	r.exec(`INSERT INTO lumin.programs (id, host, pid, role, job_kinds) VALUES (gen_random_uuid(), 'new', 1, 'worker', '{old,added}')`)
	first := r.start(old)
	one, all := r.order(replay.Filter{Kinds: []string{"added"}}), r.order(replay.Filter{Status: replay.Failed})
	r.wait("the run that it knows", func() bool { return r.effects("old") == 1 })
	r.wait("a snooze of each", func() bool {
		return r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = 'lumin_replay' AND (metadata ->> 'snoozes')::int > 0`) == 2
	})
	if n := r.count(`SELECT count(*) FROM lumin.replays WHERE finished_at IS NULL AND enqueued_at IS NULL`); n != 2 {
		t.Errorf("%d of both orders are open", n)
	}
	r.stop(first)
	r.start(old, added)
	for _, id := range []int64{one, all} {
		if order := r.waitOrder(id); order.State != "done" || order.Error != "" {
			t.Errorf("%+v", order)
		}
	}
	if r.effects("added") != 1 || r.effects("old") != 1 {
		t.Errorf("%d and %d effects", r.effects("added"), r.effects("old"))
	}
}

func TestOrderRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := newBreakable("broken")
	r.start(job)
	key := r.record(1, job)
	r.waitQuiet()
	for _, test := range []struct{ name, columns, values, why string }{
		{"no filter", "reason", `'because'`, "no filter given"},
		{"unknown kind", "job_kinds", `'{broken,no_such_kind,canary@example.com}'`, "no running program knows the job types no_such_kind, [address]"},
		{"times exchanged", "received_since, received_until", `now(), now() - interval '1 day'`, "ends before it begins"},
		{"a NULL among the kinds", "job_kinds", `'{broken,NULL}'`, "contains NULL"},
		{"a time without end", "status, received_until", `'failed', 'infinity'`, "a time is infinite"},
		{"a time out of reach", "status, event_since", `'failed', '20000-01-01'`, "outside the years"},
		{"no runs a second", "status, rate", `'failed', 0`, "a rate of 0"},
		{"nothing at all", "job_kinds, reason, event_ids", `NULL, NULL, NULL`, "no filter given"},
		{"a silly status", "status", `'broken'`, "is not a status"},
	} {
		t.Run(test.name, func(t *testing.T) {
			id := int64(r.count(`INSERT INTO lumin.replays (` + test.columns + `) VALUES (` + test.values + `) RETURNING id`))
			r.wait("the refusal", func() bool {
				return r.count(`SELECT count(*) FROM lumin.replays WHERE id = $1 AND state = 'refused' AND finished_at IS NOT NULL`, id) == 1
			})
			if n := r.count(`SELECT count(*) FROM lumin.replays WHERE id = $1 AND strpos(error, $2) > 0`, id, test.why); n != 1 {
				t.Error(r.rows(`SELECT error FROM lumin.replays ORDER BY id DESC LIMIT 1`))
			}
		})
	}
	if got := r.run("broken", key); got.State != "failed" || got.ReplayID != 0 {
		t.Errorf("%+v", got)
	}
	// List returns refused orders too. An order whose row says done is reported
	// as finished.
	r.exec(`INSERT INTO lumin.replays (status, state) VALUES ('failed', 'done')`)
	orders, err := replay.New(r.store).List(r.ctx, 0, 100)
	if err != nil || len(orders) != 10 || !orders[0].Finished() {
		t.Errorf("%d orders, %v", len(orders), err)
	}
	checkCanaries(t, r)
}

// A program that stops during an order leaves the rest of it to the next
// program.
func TestOrderInterrupted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := newBreakable("broken")
	job.repaired.Store(true)
	const runs = 200
	r.recordMany(1, runs, job)
	r.exec(`DELETE FROM lumin.river_job`)
	r.exec(`UPDATE lumin.runs SET state = 'failed', finished_at = now()`)

	// Another transaction locks the last run, so the order needs another pass.
	tx, err := r.pool.Begin(r.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(r.ctx, `SELECT FROM lumin.runs ORDER BY event_key DESC LIMIT 1 FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	first := r.start(job)
	id := r.order(replay.Filter{Status: replay.Failed})
	r.wait("all but one", func() bool { return r.count(`SELECT enqueued FROM lumin.replays WHERE id = $1`, id) == runs-1 })
	r.stop(first)
	if err := tx.Rollback(r.ctx); err != nil {
		t.Fatal(err)
	}
	order, err := replay.New(r.store).Get(r.ctx, id)
	if err != nil || order.State != "running" || order.Enqueued != runs-1 {
		t.Fatalf("interrupted: %+v, %v", order, err)
	}
	if n := r.count(`SELECT attempt FROM lumin.river_job WHERE kind = 'lumin_replay'`); n != 0 {
		t.Errorf("the interruption counts as attempt %d", n)
	}

	r.start(job)
	if order := r.waitOrder(id); order.Enqueued != runs {
		t.Errorf("%+v", order)
	}
	r.waitQuiet()
	if all, distinct := r.effects("broken"), r.count(`SELECT count(DISTINCT event_key) FROM shop.effects`); all != runs || distinct != runs {
		t.Errorf("%d effects on %d events, want %d", all, distinct, runs)
	}
}

// An order whose job has used up its attempts fails.
func TestOrderFails(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := newBreakable("broken")
	r.record(1, job)
	r.exec(`DELETE FROM lumin.river_job`)
	r.exec(`UPDATE lumin.runs SET state = 'failed', finished_at = now()`)
	r.exec(`CREATE FUNCTION shop.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no replay for canary@example.com'; END $$`)
	r.exec(`CREATE TRIGGER fail BEFORE UPDATE ON lumin.runs FOR EACH ROW EXECUTE FUNCTION shop.fail()`)
	id := r.order(replay.Filter{Status: replay.Failed})
	r.exec(`UPDATE lumin.river_job SET max_attempts = 1`)
	r.start(job)
	if order := r.waitOrder(id); order.State != "failed" || !strings.Contains(order.Error, "given up: ") || !strings.Contains(order.Error, "no replay for [address]") {
		t.Errorf("%+v", order)
	}
	checkCanaries(t, r)
}

// A run that would wait for hours is retried now.
func TestOrderRetrying(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := newBreakable("patient")
	r.start(slowRetry{job})
	key := r.record(1, slowRetry{job})
	r.wait("the first attempt", func() bool { return r.count(`SELECT count(*) FROM lumin.river_job WHERE state = 'retryable'`) == 1 })
	job.repaired.Store(true)
	order := r.waitOrder(r.order(replay.Filter{Status: replay.Retrying}))
	if got := r.run("patient", key); order.State != "done" || got.State != "succeeded" || got.ReplayID != order.ID || r.effects("patient") != 1 {
		t.Errorf("%+v, %+v, %d effects", order, got, r.effects("patient"))
	}
}

// slowRetry is a job type whose Backoff is an hour.
type slowRetry struct{ breakable }

func (slowRetry) MaxAttempts() int          { return 3 }
func (slowRetry) Backoff(int) time.Duration { return time.Hour }

// The sweep continues an order whose job was deleted.
func TestOrderWithoutJob(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := newBreakable("broken")
	job.repaired.Store(true)
	r.record(1, job)
	r.exec(`UPDATE lumin.runs SET state = 'failed', finished_at = now()`)
	id := r.order(replay.Filter{Status: replay.Failed})
	r.exec(`DELETE FROM lumin.river_job`)
	r.start(job) // it sweeps as soon as River elects it
	if order := r.waitOrder(id); order.State != "done" || order.Enqueued != 1 {
		t.Errorf("%+v", order)
	}
}
