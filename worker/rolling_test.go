package worker_test

import (
	"sync"
	"testing"
	"time"

	"lumin-ingest/store/replay"
	"lumin-ingest/worker"
)

// A program with one more job type runs beside the old one, and both receive
// and work. The old job types continue as before. A replay finds the events
// that the old program recorded without the new job type.
func TestRollingDeployment(t *testing.T) {
	t.Parallel()
	const each = 300
	r := newRig(t)
	old, added := newTxJob("old_effect", nil), newTxJob("new_effect", nil)
	first := r.start(old)
	var load sync.WaitGroup
	load.Go(func() {
		for n := range 10 {
			r.recordMany(n*each/10+1, (n+1)*each/10, old)
		}
	})
	r.wait("some work of the old program", func() bool { return r.effects("old_effect") > 0 })
	r.start(old, added)
	load.Go(func() {
		for n := range 10 {
			r.recordMany(each+n*each/10+1, each+(n+1)*each/10, old, added)
		}
	})
	load.Wait()
	r.stop(first)
	r.waitQuiet()
	if a, b := r.effects("old_effect"), r.effects("new_effect"); a != 2*each || b != each {
		t.Errorf("%d effects of the old job type and %d of the new one, want %d and %d", a, b, 2*each, each)
	}

	r.waitOrder(r.order(replay.Filter{Status: replay.Missing, Kinds: []string{"new_effect"}}))
	r.waitQuiet()
	for _, kind := range []string{"old_effect", "new_effect"} {
		all := r.effects(kind)
		distinct := r.count(`SELECT count(DISTINCT event_key) FROM shop.effects WHERE kind = $1`, kind)
		if all != 2*each || distinct != 2*each {
			t.Errorf("%s: %d effects on %d events, want %d", kind, all, distinct, 2*each)
		}
	}
	if n := r.count(`SELECT count(*) FROM lumin.failures`); n != 0 {
		t.Errorf("%d failures", n)
	}
}

// River may have elected the old program, which gives up jobs of a dead program
// whose kind it does not know. Their runs fail and can be replayed.
func TestOldLeaderFailsUnknownKinds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	old, added := newTxJob("old_effect", nil), newTxJob("new_effect", nil)
	key := r.record(1, old, added)
	// The program that ran this job is dead.
	r.exec(`UPDATE lumin.river_job SET state = 'running', attempt = 1, attempted_at = now() - interval '1 hour', attempted_by = '{dead}'
		WHERE kind = 'new_effect'`)
	leader := r.start(old)
	r.wait("the old program to give up", func() bool {
		return r.count(`SELECT count(*) FROM lumin.runs WHERE job_kind = 'new_effect' AND state = 'failed'`) == 1
	})
	r.stop(leader)
	if got := r.run("new_effect", key); got.Failures != 1 || got.JobState != "discarded" {
		t.Errorf("given up: %+v", got)
	}
	r.startConfig(worker.Config{}.Quick(time.Second), old, added)
	r.waitOrder(r.order(replay.Filter{Kinds: []string{"new_effect"}}))
	if r.effects("new_effect") != 1 || r.effects("old_effect") != 1 {
		t.Errorf("%d and %d effects, want 1 and 1", r.effects("new_effect"), r.effects("old_effect"))
	}
}
