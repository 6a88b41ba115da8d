package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"lumin-ingest/worker"
)

// Not parallel: the test checks the goroutines of the whole program.
func TestStopLeavesNoGoroutines(t *testing.T) { //nolint:paralleltest // see above
	r := newRig(t)
	job := newTxJob("job", nil)
	r.pool.Reset()
	before := goleak.IgnoreCurrent()
	batches := &batchJob{kind: "batches"}
	rt := r.start(job, batches)
	r.recordMany(1, 20, job, batches)
	r.waitQuiet()
	r.stop(rt)
	r.stop(rt) // a second call has nothing to do
	r.pool.Close()
	goleak.VerifyNone(t, before)
}

func TestStopWaitsForRunningJobs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	release := make(chan struct{})
	job := newTxJob("finishes", func(context.Context, pgx.Tx, int) error { <-release; return nil })
	plain := newPlainJob("plain", func(context.Context, *worker.Event, int) error { <-release; return nil })
	rt := r.start(job, plain)
	if err := rt.Ready(r.ctx); err != nil {
		t.Error("running, and not ready:", err)
	}
	key := r.record(1, job, plain)
	r.wait("the calls", func() bool { return job.calls.Load()+plain.calls.Load() == 2 })

	expiring, cancel := context.WithTimeout(r.ctx, time.Millisecond)
	defer cancel()
	if err := rt.Stop(expiring); !errors.Is(err, context.DeadlineExceeded) {
		t.Error("Stop did not wait:", err)
	}
	if rt.Ready(r.ctx) == nil {
		t.Error("ready while it stops")
	}
	close(release)
	r.stop(rt)
	for _, kind := range []string{"finishes", "plain"} {
		if got := r.run(kind, key); got.State != "succeeded" || got.JobState != "completed" {
			t.Errorf("%s: %+v", kind, got)
		}
	}
	if r.effects("finishes") != 1 {
		t.Error("no effect")
	}
}

// A job that takes longer than the stop is interrupted. This does not count as
// an attempt, whatever error the job returns.
func TestStopInterruptsLongJobs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	waits := func(ctx context.Context) error {
		<-ctx.Done()
		return fmt.Errorf("stopped: %v", ctx.Err())
	}
	var restarted bool
	job := newTxJob("tx", func(ctx context.Context, _ pgx.Tx, _ int) error {
		if restarted {
			return nil
		}
		return waits(ctx)
	})
	job.attempts = 1
	query := newTxJob("query", func(ctx context.Context, tx pgx.Tx, _ int) error {
		if restarted {
			return nil
		}
		_, err := tx.Exec(ctx, `SELECT pg_sleep(600)`)
		return err
	})
	query.attempts = 1
	plain := newPlainJob("plain", func(ctx context.Context, _ *worker.Event, _ int) error {
		if restarted {
			return nil
		}
		return waits(ctx)
	})
	types := []worker.JobType{job, query, plain}
	rt := r.start(types...)
	key := r.record(1, types...)
	r.wait("the calls", func() bool { return job.calls.Load()+query.calls.Load()+plain.calls.Load() == 3 })
	r.stop(rt)
	for _, j := range types {
		got := r.run(j.Kind(), key)
		if got.State != "pending" || got.Attempts != 0 || got.Error != "" || got.JobState != "available" || got.JobTries != 0 || len(got.JobErrors) != 0 {
			t.Errorf("%s: %+v", j.Kind(), got)
		}
	}
	restarted = true // no Runtime runs
	r.start(types...)
	r.waitQuiet()
	for _, j := range types {
		if got := r.run(j.Kind(), key); got.State != "succeeded" || got.Attempts != 1 {
			t.Errorf("%s, after the restart: %+v", j.Kind(), got)
		}
	}
	if r.effects("tx") != 1 || r.effects("query") != 1 {
		t.Errorf("%d and %d effects", r.effects("tx"), r.effects("query"))
	}
}

func TestStopWithoutStart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rt, err := worker.New(worker.Config{Store: r.store, Registry: worker.NewRegistry(), Logger: r.logger})
	if err != nil {
		t.Fatal(err)
	}
	if rt.Ready(r.ctx) == nil {
		t.Error("ready before it was started")
	}
	r.stop(rt)
}

// River's own log is passed on from warnings upwards, also through derived
// loggers.
func TestRiverLog(t *testing.T) {
	t.Parallel()
	var logs logBuffer
	quiet := slog.New(worker.Warnings(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	for _, logger := range []*slog.Logger{quiet, quiet.With("a", 1), quiet.WithGroup("g")} {
		logger.Info("chatter", "b", 1)
		logger.Warn("warning", "b", 1)
	}
	if got := logs.String(); strings.Contains(got, "chatter") || strings.Count(got, "warning") != 3 {
		t.Error(got)
	}
}
