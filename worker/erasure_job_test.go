package worker_test

import (
	"context"
	"errors"
	"testing"

	"lumin-ingest/lumin"
	"lumin-ingest/store/erasure"
	"lumin-ingest/worker"
)

// stuck is a plain job type that runs until it is released. It then fails with
// an error that contains personal data.
type stuck struct {
	worker.Defaults
	called, release chan struct{}
}

func (stuck) Kind() string              { return "stuck" }
func (stuck) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }

func (s stuck) Work(ctx context.Context, _ *worker.Event) error {
	s.called <- struct{}{}
	select {
	case <-s.release:
	case <-ctx.Done():
	}
	return errors.New("no account of Zyzzyva")
}

// The error of a job that was running during the erasure is erased too, and the
// job is not retried. A running worker continues an erasure whose command was
// interrupted.
func TestErasureWhileWorking(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := stuck{called: make(chan struct{}, 1), release: make(chan struct{})}
	first := r.start(job)
	r.record(1, job)
	<-job.called
	plan, err := erasure.NewPlan(r.ctx, r.pool, erasure.Subject{SignatureRequestIDs: []string{"request-1"}})
	if err != nil {
		t.Fatal(err)
	}
	id, err := plan.Order(r.ctx, r.pool, "test", "")
	if err != nil {
		t.Fatal(err)
	}
	e, err := erasure.CarryOut(r.ctx, r.pool, id)
	if err != nil || e.FinishedAt != nil || e.Bodies != 1 || e.RunsCancelled != 1 {
		t.Fatalf("while a job is at work: %+v, %v", e, err)
	}
	close(job.release)
	r.wait("its error", func() bool {
		return r.count(`SELECT count(*) FROM lumin.river_job WHERE errors::text LIKE '%Zyzzyva%'`) == 1
	})
	r.stop(first)
	r.start(job) // it looks for erasures once River elects it
	r.wait("the end of the erasure", func() bool { return r.count(`SELECT count(*) FROM lumin.erasures WHERE finished_at IS NOT NULL`) == 1 })
	if n := r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = 'stuck'`); n != 0 {
		t.Errorf("%d jobs are left", n)
	}
	if n := r.count(`SELECT count(*) FROM lumin.runs WHERE state = 'cancelled' AND error IS NULL`); n != 1 {
		t.Error("the run is not cancelled, or keeps its error")
	}
}
