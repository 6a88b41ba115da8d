package worker_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"lumin-ingest/store/replay"
	"lumin-ingest/worker"
)

// A part of the sweep that fails, or needs more than its share of the time, does not
// stop the parts behind it.
func TestSweepPartsInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		broken := errors.New("broken")
		var shares []string
		part := func(result error) func(context.Context) error {
			return func(ctx context.Context) error {
				start := time.Now()
				if result == context.DeadlineExceeded {
					<-ctx.Done()
				}
				deadline, _ := ctx.Deadline()
				shares = append(shares, fmt.Sprint(deadline.Sub(start)))
				return result
			}
		}
		err := worker.InTurn(ctx, part(context.DeadlineExceeded), part(broken), part(nil), part(context.DeadlineExceeded))
		if got := fmt.Sprint(shares); got != "[10s 10s 15s 30s]" {
			t.Errorf("the parts had %s", got)
		}
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, broken) {
			t.Errorf("error %v", err)
		}
		cancel()
		shares = nil
		if err := worker.InTurn(ctx, part(nil)); err == nil || shares != nil {
			t.Errorf("after the end: %v, %s", err, shares)
		}
	})
}

// A sweep that cannot settle runs still gives lost orders a new job.
func TestSweepGoesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := newBreakable("broken")
	job.repaired.Store(true)
	id := r.order(replay.Filter{Status: replay.Failed})
	r.exec(`DELETE FROM lumin.river_job`)
	r.exec(`ALTER FUNCTION lumin.settle_failure RENAME TO settle_no_failure`)
	r.start(job)
	if order := r.waitOrder(id); order.State != "done" {
		t.Errorf("%+v", order)
	}
}
