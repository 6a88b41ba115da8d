package worker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/store/erasure"
	"lumin-ingest/store/replay"
	"lumin-ingest/worker"
)

// held is an ordered job type that works event 1 of each signature request until
// it is released. Then the other events of these have long been parked.
func held(release <-chan struct{}, then func(ctx context.Context, tx pgx.Tx, e *worker.Event, call int) error) *orderedJob {
	return &orderedJob{kind: "ordered", work: func(ctx context.Context, tx pgx.Tx, e *worker.Event, call int) error {
		if strings.HasSuffix(nameOf(e), "/1") {
			select {
			case <-release:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if then == nil {
			return nil
		}
		return then(ctx, tx, e, call)
	}}
}

// An event that waited and fails in the job of another gets all its attempts in
// a job of its own. The job in which it failed succeeds, and later events wait.
func TestOrderedFailureInJobOfAnother(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(ctx context.Context, tx pgx.Tx) error{
		"error": func(context.Context, pgx.Tx) error { return errNo },
		"panic": func(context.Context, pgx.Tx) error { panic("no") },
		"timeout": func(ctx context.Context, _ pgx.Tx) error {
			<-ctx.Done()
			return ctx.Err()
		},
		"raw ROLLBACK": func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `ROLLBACK`)
			return err
		},
		"unread rows": func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Query(ctx, `SELECT 1`)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newLaneRig(t)
			release := make(chan struct{})
			job := held(release, func(ctx context.Context, tx pgx.Tx, e *worker.Event, call int) error {
				if nameOf(e) == "a/2" && call < 3 {
					return fail(ctx, tx)
				}
				return nil
			})
			job.timeout = 2 * time.Second
			r.startOrdered(job)
			r.waitSwept()
			r.recordLane(job, "a", 1)
			r.wait("event 1", func() bool { return job.callsOf("a/1") == 1 })
			r.recordLane(job, "a", 3, 2)
			r.waitStates(job, "a", "pending parked parked")
			// A job that has parked its run reads the head afterwards, and could work event 2 too.
			r.wait("the jobs of the parked runs to end", func() bool {
				return r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = 'ordered' AND state = 'completed'`) == 2
			})
			close(release)
			r.waitLanes()
			r.checkOrder(job, 3)
			if n := job.callsOf("a/2"); n != 3 {
				t.Errorf("%d calls", n)
			}
			if got := r.rows(`SELECT coalesce(cardinality(errors), 0), count(*) FROM lumin.river_job WHERE kind = 'ordered' GROUP BY 1 ORDER BY 1`); strings.Join(got, ", ") != "0 3, 1 1" {
				t.Errorf("jobs by number of errors: %v", got)
			}
		})
	}
}

// A COMMIT in the code of an event commits its effect and its mark, and later
// events go on, each once.
func TestOrderedRawCommit(t *testing.T) {
	t.Parallel()
	r := newLaneRig(t)
	release := make(chan struct{})
	job := held(release, func(ctx context.Context, tx pgx.Tx, e *worker.Event, _ int) error {
		_, err := tx.Exec(ctx, `COMMIT`)
		return err
	})
	r.startOrdered(job)
	r.waitSwept()
	r.recordLane(job, "a", 1)
	r.wait("event 1", func() bool { return job.callsOf("a/1") == 1 })
	r.recordLane(job, "a", 4, 3, 2)
	r.waitStates(job, "a", "pending parked parked parked")
	close(release)
	r.waitLanes()
	r.checkOrder(job, 4)
	if got := r.states(job, "a"); got != "succeeded succeeded succeeded succeeded" {
		t.Error(got)
	}
	if n := r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = 'ordered'`); n != 4 {
		t.Errorf("%d jobs for 4 events: some waited for another job", n)
	}
}

// A program that stops works no further event of a lane in the same job, but
// wakes it. Another one goes on.
func TestOrderedStop(t *testing.T) {
	t.Parallel()
	r := newLaneRig(t)
	release := make(chan struct{})
	job := held(release, nil)
	r.recordLane(job, "a", 1)
	rt := r.startOrdered(job)
	r.wait("event 1", func() bool { return job.callsOf("a/1") == 1 })
	r.recordLane(job, "a", 2, 3)
	r.waitStates(job, "a", "pending parked parked")
	stopped := make(chan struct{})
	go func() { defer close(stopped); r.stop(rt) }()
	r.wait("the stop to begin", func() bool { return rt.Ready(r.ctx) != nil })
	close(release)
	<-stopped
	if got := r.states(job, "a"); got == "succeeded succeeded succeeded" || strings.HasPrefix(got, "parked") {
		t.Errorf("after the stop: %s", got)
	}
	r.startOrdered(job)
	r.waitLanes()
	r.checkOrder(job, 3)
}

// Two programs share the lanes, while events arrive.
func TestOrderedTwoPrograms(t *testing.T) {
	t.Parallel()
	r := newLaneRig(t)
	job := &orderedJob{kind: "ordered"}
	r.fillLanes(job, 20, 30)
	for range 2 {
		r.startOrdered(job)
	}
	r.waitLanes()
	r.checkOrder(job, 600)
}

// The sweep wakes a lane whose program was killed after it had parked the head.
func TestOrderedSweep(t *testing.T) {
	t.Parallel()
	r := newLaneRig(t)
	job := &orderedJob{kind: "ordered"}
	r.recordLane(job, "a", 1, 2)
	r.recordLane(job, "b", 1)
	r.exec(`UPDATE lumin.runs SET state = 'parked'`)
	r.exec(`DELETE FROM lumin.river_job`)
	r.startOrdered(job)
	r.waitLanes()
	r.checkOrder(job, 3)
}

// Parked runs of a job type that is not ordered any more are worked.
func TestNotOrderedAnyMore(t *testing.T) {
	t.Parallel()
	r := newLaneRig(t)
	job := &orderedJob{kind: "ordered"}
	r.recordLane(job, "a", 1, 2, 3)
	r.exec(`UPDATE lumin.runs SET state = 'parked'`)
	r.exec(`DELETE FROM lumin.river_job`)
	registry := worker.NewRegistry()
	registry.AddTx(job)
	r.startRegistry(worker.Config{MaxWorkers: 1}.Quick(time.Second), registry)
	r.waitLanes()
	if n := r.count(`SELECT count(*) FROM shop.sequence`); n != 3 {
		t.Errorf("%d effects", n)
	}
}

// While an event has failed, its lane is held, until the event is replayed,
// dismissed or gone.
func TestOrderedHeldLane(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end    func(r *rig) error
		worked string
	}{
		"replay": {func(r *rig) error {
			r.waitOrder(r.order(replay.Filter{Status: replay.Failed}))
			return nil
		}, "1 2 3 4"},
		"dismissal": {func(r *rig) error {
			_, err := replay.New(r.store).Dismiss(r.ctx, replay.Filter{Status: replay.Failed}, "a reason", "somebody")
			return err
		}, "1 3 4"},
		"cancellation": {func(r *rig) error {
			_, err := r.pool.Exec(r.ctx, `UPDATE lumin.runs SET state = 'cancelled' WHERE state = 'failed'`)
			if err == nil {
				_, _, err = r.store.SweepParked(r.ctx, time.Time{})
			}
			return err
		}, "1 3 4"},
		"removal of the event": {func(r *rig) error {
			_, err := r.pool.Exec(r.ctx, `WITH r AS (DELETE FROM lumin.runs WHERE state = 'failed' RETURNING event_id)
				DELETE FROM lumin.events WHERE id IN (SELECT event_id FROM r)`)
			if err == nil {
				_, _, err = r.store.SweepParked(r.ctx, time.Time{})
			}
			return err
		}, "1 3 4"},
		"erasure of its lane": {func(r *rig) error {
			plan, err := erasure.NewPlan(r.ctx, r.pool, erasure.Subject{SignatureRequestIDs: []string{"a"}})
			if err != nil {
				return err
			}
			id, err := plan.Order(r.ctx, r.pool, "a reason", "somebody")
			if err != nil {
				return err
			}
			if _, err = erasure.CarryOut(r.ctx, r.pool, id); err == nil {
				r.recordLane(&orderedJob{kind: "ordered"}, "a", 5)
			}
			return err
		}, "1 5"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newLaneRig(t)
			failing := make(chan struct{})
			job := &orderedJob{kind: "ordered", work: func(_ context.Context, _ pgx.Tx, e *worker.Event, _ int) error {
				select {
				case <-failing:
					return nil
				default:
				}
				if nameOf(e) == "a/2" {
					return errNo
				}
				return nil
			}}
			r.recordLane(job, "a", 3, 2, 1)
			r.startOrdered(job)
			r.waitStates(job, "a", "succeeded failed parked")
			r.recordLane(job, "a", 4)
			r.waitQuiet()
			if got := r.states(job, "a"); got != "succeeded failed parked parked" {
				t.Errorf("the lane is %s", got)
			}
			if got := r.rows(`SELECT job_kind, signature_request_id, head_state, waiting, held_by = head_event_id, error FROM lumin.lanes`); strings.Join(got, "; ") != "ordered a failed 2 true no" {
				t.Errorf("lanes: %v", got)
			}
			close(failing)
			if err := test.end(r); err != nil {
				t.Fatal(err)
			}
			r.waitWorked(job, "a", test.worked)
			r.waitLanes()
			r.checkOrder(job, strings.Count(test.worked, " ")+1)
		})
	}
}

// After CancelRest, a replay of the failed and the cancelled runs works all in
// order. New events are cancelled until then.
func TestOrderedReplayOfCancelled(t *testing.T) {
	t.Parallel()
	r := newLaneRig(t)
	failing := make(chan struct{})
	job := &orderedJob{kind: "ordered", policy: worker.CancelRest, work: func(_ context.Context, _ pgx.Tx, e *worker.Event, _ int) error {
		select {
		case <-failing:
			return nil
		default:
			return map[bool]error{true: worker.JobFail(errNo)}[nameOf(e) == "a/1"]
		}
	}}
	r.recordLane(job, "a", 3, 2, 1)
	r.startOrdered(job)
	r.waitStates(job, "a", "failed cancelled cancelled")
	r.recordLane(job, "a", 4)
	r.waitStates(job, "a", "failed cancelled cancelled cancelled")
	if got := r.rows(`SELECT DISTINCT error FROM lumin.runs WHERE state = 'cancelled'`); len(got) != 1 || !strings.Contains(got[0], "because event ") {
		t.Errorf("errors %v", got)
	}
	if n := r.count(`SELECT count(*) FROM lumin.failures WHERE state = 'cancelled' AND errors[1] ->> 'error' LIKE 'cancelled, because event %'`); n != 3 {
		t.Errorf("%d failures", n)
	}
	close(failing)
	cancelled := r.order(replay.Filter{Status: replay.Cancelled})
	r.waitOrder(cancelled)
	if got := r.states(job, "a"); got != "failed cancelled cancelled cancelled" {
		t.Errorf("while the first has failed, a replay of the others gives %s", got)
	}
	r.waitOrder(r.order(replay.Filter{Status: replay.Failed}))
	r.waitOrder(r.order(replay.Filter{Status: replay.Cancelled}))
	r.waitWorked(job, "a", "1 2 3 4")
}

// A job of a program that does not know the order takes a parked run. It works it
// once.
func TestOrderedBesideOlderProgram(t *testing.T) {
	t.Parallel()
	r := newLaneRig(t)
	job := &orderedJob{kind: "ordered"}
	registry := worker.NewRegistry()
	registry.AddTx(job)
	r.fillLanes(job, 10, 30)
	r.exec(`INSERT INTO lumin.job_types (kind, events, sources, transactional, queue) VALUES ('ordered', '{}', '{}', true, 'default')`)
	r.startRegistry(worker.Config{MaxWorkers: 4}.Quick(time.Second), registry)
	r.startOrdered(job)
	// The older program wakes no event, so the sweep may have to.
	r.wait("all runs to end", func() bool {
		if _, _, err := r.store.SweepParked(r.ctx, time.Time{}); err != nil {
			t.Fatal(err)
		}
		return r.count(`SELECT count(*) FROM lumin.runs WHERE state IN ('pending', 'parked')`) == 0
	})
	if all, distinct := r.count(`SELECT count(*) FROM shop.sequence`), r.count(`SELECT count(DISTINCT event) FROM shop.sequence`); all != 300 || distinct != 300 {
		t.Errorf("%d effects of %d events", all, distinct)
	}
}

// A late event waits for a later one that is being worked: only the lock of the
// lane keeps them apart.
func TestOrderedLateEventWaits(t *testing.T) {
	t.Parallel()
	r := newLaneRig(t)
	release := make(chan struct{})
	job := &orderedJob{kind: "ordered", work: func(ctx context.Context, _ pgx.Tx, e *worker.Event, _ int) error {
		if nameOf(e) == "a/5" {
			<-release
		}
		return nil
	}}
	r.startOrdered(job)
	r.recordLane(job, "a", 5)
	r.wait("event 5", func() bool { return job.callsOf("a/5") == 1 })
	r.recordLane(job, "a", 3)
	r.waitStates(job, "a", "parked pending")
	close(release)
	r.waitLanes()
	if got := r.worked(job, "a"); got != "5 3" || len(job.odd) > 0 {
		t.Errorf("worked %s, %v", got, job.odd)
	}
}

// A late event is worked when it arrives, even if the lane is idle.
func TestOrderedLateEvent(t *testing.T) {
	t.Parallel()
	r := newLaneRig(t)
	job := &orderedJob{kind: "ordered"}
	r.startOrdered(job)
	r.recordLane(job, "a", 5)
	r.waitWorked(job, "a", "5")
	r.recordLane(job, "a", 1)
	r.waitWorked(job, "a", "5 1")
}
