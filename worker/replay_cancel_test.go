package worker_test

import (
	"context"
	"testing"
	"time"

	"lumin-ingest/store/replay"
)

// After an order is cancelled half-way, runs that have not started are failed
// again. An order with a rate does not exceed it.
func TestOrderCancelled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := newBreakable("broken")
	job.repaired.Store(true)
	const runs, rate = 1000, 20 // so slow that the order is cancelled before its end
	r.recordMany(1, runs, job)
	r.exec(`DELETE FROM lumin.river_job`)
	r.exec(`UPDATE lumin.runs SET state = 'failed', error = 'as before', finished_at = now()`)
	r.start(job)
	begin := time.Now()
	id, err := replay.New(r.store).Place(r.ctx, replay.NewOrder{Filter: replay.Filter{Status: replay.Failed}, Rate: rate})
	if err != nil {
		t.Fatal(err)
	}
	r.wait("some runs", func() bool { return r.count(`SELECT count(*) FROM lumin.runs WHERE state = 'succeeded'`) >= 30 })
	enqueued, took := r.count(`SELECT enqueued FROM lumin.replays`), time.Since(begin)
	if most := rate*took.Seconds() + rate; float64(enqueued) > most {
		t.Errorf("%d runs enqueued in %s, at most %.0f were to be", enqueued, took, most)
	}
	r.exec(`UPDATE lumin.replays SET state = 'cancelled'`) // as psql would
	order := r.waitOrder(id)
	r.waitQuiet()
	done, left := r.count(`SELECT count(*) FROM lumin.runs WHERE state = 'succeeded'`), r.count(`SELECT count(*) FROM lumin.runs WHERE state = 'failed' AND error = 'as before'`)
	if order.State != "cancelled" || done+left != runs || left == 0 || done != r.effects("broken") || int64(done) != order.Enqueued-order.Withdrawn {
		t.Errorf("%d done, %d left, %d effects, %+v", done, left, r.effects("broken"), order)
	}
}

// A cancelled order waits for a run that is locked, and is finished once it is restored.
func TestOrderCancelledBesideLock(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := newBreakable("broken")
	r.record(1, job)
	r.exec(`DELETE FROM lumin.river_job`)
	r.exec(`INSERT INTO lumin.replays (status, state, planned, enqueued, enqueued_at) VALUES ('failed', 'cancelled', 1, 1, now())`)
	id := int64(r.count(`SELECT id FROM lumin.replays`))
	r.exec(`UPDATE lumin.runs SET state = 'parked', replay_id = $1, job_id = NULL`, id)
	holder, err := r.store.Pool().Begin(r.ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Rollback(context.WithoutCancel(r.ctx)) }()
	if _, err := holder.Exec(r.ctx, `SELECT FROM lumin.runs FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	r.start(job)
	r.waitSwept() // the sweep would give the run a job
	r.wait("the order pauses or ends", func() bool {
		return r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = 'lumin_replay' AND (metadata ? 'snoozes' OR state = 'completed')`) == 1
	})
	if n := r.count(`SELECT count(*) FROM lumin.replays WHERE finished_at IS NULL`); n != 1 {
		t.Error("the order is finished although a run is locked")
	}
	if err := holder.Rollback(r.ctx); err != nil {
		t.Fatal(err)
	}
	order := r.waitOrder(id)
	if got := r.count(`SELECT count(*) FROM lumin.runs WHERE state = 'failed'`); order.Withdrawn != 1 || got != 1 {
		t.Errorf("%d runs restored: %+v", got, order)
	}
}
