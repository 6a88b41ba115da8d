package worker_test

import (
	"context"
	"fmt"
	"lumin-ingest/worker"
	"slices"
	"strings"
	"testing"

	"lumin-ingest/lumin"
	"lumin-ingest/store/replay"
)

func TestPlain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	succeeds := newPlainJob("succeeds", func(context.Context, *worker.Event, int) error { return nil })
	third := newPlainJob("third_time", func(_ context.Context, _ *worker.Event, call int) error {
		if call < 3 {
			return fmt.Errorf("call %d", call)
		}
		return nil
	})
	never := newPlainJob("never", func(_ context.Context, _ *worker.Event, call int) error {
		return fmt.Errorf("call %d for canary@example.com", call)
	})
	panics := newPlainJob("panics", func(context.Context, *worker.Event, int) error { panic("canary@example.com") })
	r.start(succeeds, third, never, panics)
	key := r.record(1, succeeds, third, never, panics)
	r.waitQuiet()

	for _, test := range []struct {
		job   *plainJob
		state string
		tries int
		err   string
	}{
		{succeeds, "succeeded", 1, ""},
		{third, "succeeded", 3, ""},
		{never, "failed", 3, "call 3 for [address]"},
		{panics, "failed", 3, "panic: [address]"},
	} {
		got := r.run(test.job.kind, key)
		if got.State != test.state || got.Attempts != test.tries || got.Error != test.err || int(test.job.calls.Load()) != test.tries {
			t.Errorf("%s: %+v after %d calls", test.job.kind, got, test.job.calls.Load())
		}
		if failures := map[string]int{"failed": 1}[test.state]; got.Failures != failures || len(got.FailureErrors) != failures*3 {
			t.Errorf("%s: %d failures with %q", test.job.kind, got.Failures, got.FailureErrors)
		}
	}
	checkCanaries(t, r)
}

// An attempt whose result is lost is repeated with the same idempotency key.
func TestPlainTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var keys []lumin.EventKey // written by consecutive attempts
	job := newPlainJob("mails", func(_ context.Context, e *worker.Event, _ int) error { keys = append(keys, e.Key); return nil })
	// The first statement that settles the run fails.
	r.exec(`CREATE SEQUENCE shop.settled`)
	r.exec(`CREATE FUNCTION shop.fail_once() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF nextval('shop.settled') = 1 THEN RAISE EXCEPTION 'killed between work and settle'; END IF;
			RETURN NEW;
		END $$`)
	r.exec(`CREATE TRIGGER fail_once BEFORE UPDATE ON lumin.runs FOR EACH ROW
		WHEN (NEW.state = 'succeeded') EXECUTE FUNCTION shop.fail_once()`)
	r.start(job)
	key := r.record(1, job)
	r.waitQuiet()
	if !slices.Equal(keys, []lumin.EventKey{key, key}) {
		t.Errorf("called with %v, want twice %s", keys, key)
	}
	got := r.run("mails", key)
	if got.State != "succeeded" || got.Attempts != 2 || len(got.JobErrors) != 1 || !strings.Contains(got.JobErrors[0], "settle run") {
		t.Errorf("%+v", got)
	}
}

// A run is settled even after the timeout of its job.
func TestPlainSettlesAfterTimeout(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := &hasty{newPlainJob("hasty", func(ctx context.Context, _ *worker.Event, _ int) error { <-ctx.Done(); return nil })}
	r.start(job)
	key := r.record(1, job)
	r.waitQuiet()
	if got := r.run("hasty", key); got.State != "succeeded" || job.calls.Load() != 1 {
		t.Errorf("%+v after %d calls", got, job.calls.Load())
	}
}

// If a later replay takes over a run while its job is running, the job does not
// change the run.
func TestPlainFence(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	release := make(chan struct{})
	job := newPlainJob("slow", func(_ context.Context, _ *worker.Event, call int) error {
		if call == 1 {
			<-release
		}
		return nil
	})
	r.start(job)
	key := r.record(1, job)
	r.wait("the first call", func() bool { return job.calls.Load() == 1 })
	r.exec(`UPDATE lumin.river_job SET state = 'discarded', finalized_at = now() WHERE kind = 'slow'`)
	id, err := replay.New(r.store).Place(r.ctx, replay.NewOrder{Filter: replay.Filter{Kinds: []string{"slow"}}})
	if err != nil {
		t.Fatal(err)
	}
	r.wait("the replay", func() bool {
		return r.count(`SELECT count(*) FROM lumin.runs WHERE state = 'succeeded' AND replay_id = $1`, id) == 1
	})
	before := r.rows(`SELECT r::text FROM lumin.runs r`)
	close(release)
	r.wait("the first call to end", func() bool { return strings.Count(r.logs.String(), `"attempt succeeded","kind":"slow"`) == 2 })
	if after := r.rows(`SELECT r::text FROM lumin.runs r`); !slices.Equal(before, after) {
		t.Errorf("run of %s was %v and is %v", key, before, after)
	}
}
