package worker_test

import (
	"context"
	"lumin-ingest/worker"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"lumin-ingest/migrations"
	"lumin-ingest/store"
)

const insertSameJob = `INSERT INTO lumin.river_job (args, kind, max_attempts, queue)
	SELECT args, kind, max_attempts, queue FROM lumin.river_job, generate_series(1, $2::int) WHERE kind = $1`

// While one job holds a run, another job of the same run waits without losing
// attempts.
func TestTwoJobsForOneRun(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	release := make(chan struct{})
	job := newTxJob("twice", func(context.Context, pgx.Tx, int) error { <-release; return nil })
	r.start(job)
	r.record(1, job)
	r.wait("the first call", func() bool { return job.calls.Load() == 1 })
	r.exec(insertSameJob, "twice", 1)
	r.wait("the snooze of the second job", func() bool {
		return r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = 'twice' AND (metadata ->> 'snoozes')::int > 0`) == 1
	})
	close(release)
	r.waitQuiet()
	if n := r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = 'twice' AND state = 'completed' AND errors IS NULL`); n != 2 {
		t.Errorf("%d jobs completed without an error, want 2", n)
	}
	if r.effects("twice") != 1 || job.calls.Load() != 1 {
		t.Errorf("%d effects, %d calls", r.effects("twice"), job.calls.Load())
	}
}

func TestManyJobsForOneRun(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := newTxJob("often", failOnce)
	r.record(1, job)
	r.exec(insertSameJob, "often", 30)
	r.start(job)
	r.waitQuiet()
	if r.effects("often") != 1 || job.calls.Load() != 2 {
		t.Errorf("%d effects, %d calls", r.effects("often"), job.calls.Load())
	}
}

// The program crashes between the commit of the effect and the completion of
// the job.
func TestJobRunsAgainAfterSuccess(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := newTxJob("once", nil)
	plain := newPlainJob("plain", nil)
	plain.work = func(context.Context, *worker.Event, int) error { return nil }
	r.start(job, plain)
	key := r.record(1, job, plain)
	r.waitQuiet()
	r.exec(`UPDATE lumin.river_job SET state = 'available', finalized_at = NULL WHERE kind IN ('once', 'plain')`)
	r.waitQuiet()
	if r.effects("once") != 1 || job.calls.Load() != 1 || plain.calls.Load() != 1 {
		t.Errorf("%d effects, %d and %d calls", r.effects("once"), job.calls.Load(), plain.calls.Load())
	}
	if got := r.run("once", key); got.State != "succeeded" || got.Attempts != 1 || got.JobTries != 2 || len(got.JobErrors) > 0 {
		t.Errorf("%+v", got)
	}
}

// An event may be erased while one of its runs waits.
func TestErasedEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job, plain := newTxJob("tx", nil), newPlainJob("plain", nil)
	key := r.record(1, job, plain)
	r.exec(`DELETE FROM lumin.events`)
	r.start(job, plain)
	r.waitQuiet()
	for _, kind := range []string{"tx", "plain"} {
		if got := r.run(kind, key); got.State != "cancelled" || !strings.Contains(got.Error, "the event of the run is gone") || got.Failures != 1 {
			t.Errorf("%s: %+v", kind, got)
		}
	}
	if job.calls.Load()+plain.calls.Load() != 0 {
		t.Error("called")
	}
}

// A trigger handles final failures that never reach the worker.
func TestFailureHandledByTrigger(t *testing.T) {
	t.Parallel()

	t.Run("a scheduled job is cancelled", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		job := newTxJob("waits", nil)
		key := r.record(1, job)
		r.exec(`UPDATE lumin.river_job SET state = 'scheduled', scheduled_at = now() + interval '1 hour'`)
		if _, err := outsideClient(r).JobCancel(r.ctx, int64(r.count(`SELECT id FROM lumin.river_job`))); err != nil {
			t.Fatal(err)
		}
		if got := r.run("waits", key); got.State != "cancelled" || got.Failures != 1 || got.FailureState != "cancelled" {
			t.Errorf("%+v", got)
		}
	})

	t.Run("a running job is cancelled", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		job := newTxJob("runs", func(ctx context.Context, _ pgx.Tx, _ int) error { <-ctx.Done(); return ctx.Err() })
		job.timeout = waitTimeout
		r.start(job)
		key := r.record(1, job)
		r.wait("the call", func() bool { return job.calls.Load() == 1 })
		if _, err := outsideClient(r).JobCancel(r.ctx, int64(r.count(`SELECT id FROM lumin.river_job WHERE kind = 'runs'`))); err != nil {
			t.Fatal(err)
		}
		r.waitQuiet()
		if got := r.run("runs", key); got.State != "cancelled" || got.Failures != 1 || r.effects("runs") != 0 {
			t.Errorf("%+v, %d effects", got, r.effects("runs"))
		}
		if !strings.Contains(r.logs.String(), `"msg":"job cancelled","kind":"runs"`) {
			t.Error("not logged as cancelled")
		}
	})

	// The leader that River elects rescues jobs whose program has died.
	t.Run("a stuck job is rescued", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		last, first := newTxJob("last", nil), newTxJob("first", nil)
		first.backoff = func(int) time.Duration { panic("in the rescuer") }
		key := r.record(1, last, first)
		r.exec(`UPDATE lumin.river_job SET state = 'running', attempted_at = now() - interval '1 minute', attempted_by = '{gone}',
			attempt = CASE kind WHEN 'last' THEN max_attempts ELSE 1 END`)
		r.start(last, first)
		r.wait("the rescue", func() bool {
			return r.count(`SELECT count(*) FROM lumin.river_job WHERE kind IN ('last', 'first') AND state = 'running'`) == 0
		})
		got := r.run("last", key)
		if got.State != "failed" || got.Failures != 1 || !strings.Contains(got.Error, "rescued") || last.calls.Load() != 0 {
			t.Errorf("last attempt: %+v", got)
		}
		if got := r.run("first", key); got.State == "failed" || got.Failures != 0 {
			t.Errorf("first attempt: %+v", got)
		}
	})
}

// outsideClient returns a client like those of other programs and of River's
// user interface.
func outsideClient(r *rig) *river.Client[pgx.Tx] {
	r.t.Helper()
	client, err := river.NewClient(riverpgxv5.New(r.pool), &river.Config{Schema: migrations.Schema, Logger: r.logger})
	if err != nil {
		r.t.Fatal(err)
	}
	return client
}

// River documents AddWorkerArgs as internal. It allows one type of arguments
// for all job types.
func TestKindsShareOneArgsType(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	workers := river.NewWorkers()
	seen := make(chan string, 2)
	for _, kind := range []string{"first_kind", "second_kind"} {
		river.AddWorkerArgs(workers, store.JobArgs{JobKind: kind}, river.WorkFunc(func(_ context.Context, job *river.Job[store.JobArgs]) error {
			seen <- kind + " got " + job.Kind + " " + job.Args.EventKey.String()
			return nil
		}))
	}
	client, err := river.NewClient(riverpgxv5.New(r.pool), &river.Config{
		Schema: migrations.Schema, Logger: r.logger, Workers: workers, FetchOnlyKnownKinds: true,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(r.ctx); err != nil {
		t.Fatal(err)
	}
	defer client.Stop(r.ctx)
	key := r.record(1, newTxJob("first_kind", nil), newTxJob("second_kind", nil))
	got := []string{<-seen, <-seen}
	for _, kind := range []string{"first_kind", "second_kind"} {
		if want := kind + " got " + kind + " " + key.String(); got[0] != want && got[1] != want {
			t.Errorf("%q, want %q among them", got, want)
		}
	}
}

// Jobs of an unknown kind wait for a program that knows it.
func TestUnknownKindWaits(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	known, unknown := newTxJob("known", nil), newTxJob("unknown", nil)
	key := r.record(1, known, unknown)
	r.start(known)
	r.wait("the known kind", func() bool { return r.run("known", key).State == "succeeded" })
	if got := r.run("unknown", key); got.State != "pending" || got.JobState != "available" || got.JobTries != 0 {
		t.Errorf("%+v", got)
	}
	r.start(unknown)
	r.waitQuiet()
	if r.effects("unknown") != 1 {
		t.Error("the program that knows the kind did not run the job")
	}
}
