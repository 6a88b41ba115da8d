package worker_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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

// A follow-up job that has used up its attempts is listed, and can be put back
// into the queue.
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
	complaints, err := doctor.ExamineQueue(r.ctx, r.store.Pool(), waitTimeout)
	if err != nil || len(complaints.UnregisteredKinds) != 0 {
		t.Errorf("unregistered: %v, %v", complaints.UnregisteredKinds, err)
	}

	// The job fails again, with the same number of attempts, and is then
	// repaired.
	for _, want := range []string{"discarded", "completed"} {
		if n, err := failures.RetryFollowUps(r.ctx, r.store.Pool(), failures.FollowUpFilter{Kinds: []string{"send_notice"}}); err != nil || n != 1 {
			t.Fatalf("%d jobs put back, %v", n, err)
		}
		r.wait(want, func() bool {
			return r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = 'send_notice' AND state::text = $1`, want) == 1
		})
		follow.broken.Store(false)
	}
	if n, err := failures.RetryFollowUps(r.ctx, r.store.Pool(), failures.FollowUpFilter{}); err != nil || n != 0 {
		t.Errorf("%d more jobs put back, %v", n, err)
	}
}

// noticeArgs identify an order, and noticeWorker sends a notice of it.
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

// A job that WorkTx enqueues exists if the transaction commits.
func TestFollowUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	decide := newTxJob("decides", func(ctx context.Context, tx pgx.Tx, call int) error {
		if _, err := river.ClientFromContext[pgx.Tx](ctx).InsertTx(ctx, tx, noticeArgs{OrderID: call}, nil); err != nil {
			return err
		}
		if call == 1 {
			return errNo // the job of this attempt is rolled back
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

type pointerArgs struct{ ID int }

func (a *pointerArgs) Kind() string { return fmt.Sprint("of_", a.ID) }

type pointerWorker struct {
	river.WorkerDefaults[*pointerArgs]
}

func (pointerWorker) Work(context.Context, *river.Job[*pointerArgs]) error { return nil }

func TestFollowUpRefused(t *testing.T) {
	t.Parallel()
	for want, add := range map[string]func(*worker.Registry){
		"use a struct, not a pointer":          func(r *worker.Registry) { worker.AddFollowUp(r, pointerWorker{}) },
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

// wild is a follow-up job whose methods panic or end their goroutine.
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
	r.wait("the retry", func() bool {
		return r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = 'send_notice' AND state IN ('retryable', 'available') AND errors[1] ->> 'error' LIKE '%Goexit%'`) == 1
	})
	r.record(2, decide)
	r.wait("the other job", func() bool { return r.effects("decides") == 2 })
	r.stop(rt)
}
