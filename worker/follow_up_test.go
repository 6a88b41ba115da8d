package worker_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"lumin-ingest/store/doctor"
	"lumin-ingest/store/failures"
	"lumin-ingest/worker"
)

// brokenNotice is a follow-up job that fails until it is repaired.
type brokenNotice struct {
	river.WorkerDefaults[noticeArgs]
	broken *atomic.Bool
}

func (w brokenNotice) Work(context.Context, *river.Job[noticeArgs]) error {
	if w.broken.Load() {
		return errNo
	}
	return nil
}

// A follow-up job that has used up its attempts is found, and works once it is put
// back into the queue.
func TestFailedFollowUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	follow := brokenNotice{broken: &atomic.Bool{}}
	follow.broken.Store(true)
	job := newTxJob("decide", func(ctx context.Context, tx pgx.Tx, _ int) error {
		_, err := river.ClientFromContext[pgx.Tx](ctx).InsertTx(ctx, tx, noticeArgs{OrderID: 1}, &river.InsertOpts{MaxAttempts: 1})
		return err
	})
	registry := registryOf(job)
	worker.AddFollowUp(registry, follow)
	r.startRegistry(worker.Config{MaxWorkers: 2}.Quick(0), registry)
	r.record(1, job)
	r.wait("the failure", func() bool {
		return r.count(`SELECT count(*) FROM lumin.failed_follow_ups WHERE job_kind = 'send_notice' AND attempts = 1 AND error = 'no'`) == 1
	})
	complaints, err := doctor.ExamineQueue(r.ctx, r.store.Pool(), patience)
	if err != nil || len(complaints.UnregisteredKinds) != 0 {
		t.Errorf("unregistered: %v, %v", complaints.UnregisteredKinds, err)
	}

	// The next try fails too, with as many attempts as before; then it is repaired.
	for _, want := range []string{"discarded", "completed"} {
		if n, err := failures.RetryFollowUps(r.ctx, r.store.Pool(), []string{"send_notice"}, nil); err != nil || n != 1 {
			t.Fatalf("%d jobs put back, %v", n, err)
		}
		r.wait(want, func() bool {
			return r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = 'send_notice' AND state::text = $1`, want) == 1
		})
		follow.broken.Store(false)
	}
	if n, err := failures.RetryFollowUps(r.ctx, r.store.Pool(), nil, nil); err != nil || n != 0 {
		t.Errorf("%d more jobs put back, %v", n, err)
	}
}
