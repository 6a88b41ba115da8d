package worker_test

import (
	"sync"
	"testing"
	"time"

	"lumin-ingest/worker"
)

// ended collects what Config.Ended is called with.
type ended struct {
	mu  sync.Mutex
	all []worker.Ended
}

func (e *ended) add(one worker.Ended) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, one)
}

// effects returns the number of attempts of a kind that took effect, each after a
// plausible time, and the number of all that succeeded.
func (e *ended) effects(t *testing.T, kind string) (effects, succeeded int) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range e.all {
		if one.Kind != kind || one.Outcome != "succeeded" {
			continue
		}
		succeeded++
		if one.Effect >= 0 {
			effects++
		}
		if one.Effect > waitTimeout || one.Worked < 0 || one.Worked > waitTimeout {
			t.Errorf("%+v", one)
		}
	}
	return effects, succeeded
}

// Each effect is counted once with its time, whether its event was worked alone,
// in a batch, or in the job of another. That of a replay has no time.
func TestEnded(t *testing.T) {
	t.Parallel()
	const events = 20
	r := newLaneRig(t)
	heard := &ended{}
	tx, batch, lane := newTxJob("tx", nil), &batchJob{kind: "batch"}, &orderedJob{kind: "lane"}
	r.recordMany(1, events, tx, batch)
	r.fillLanes(lane, 2, events/2)
	registry := registryOf(tx, batch)
	registry.AddOrdered(lane)
	r.startRegistry(worker.Config{MaxWorkers: 8, Ended: heard.add}.Quick(200*time.Millisecond), registry)
	r.waitLanes()
	for _, kind := range []string{"tx", "batch", "lane"} {
		if effects, succeeded := heard.effects(t, kind); effects != events || succeeded != events {
			t.Errorf("%s: %d effects and %d successes, want %d of each", kind, effects, succeeded, events)
		}
	}
	r.exec(`INSERT INTO lumin.replays (job_kinds, status) VALUES ('{tx}', 'succeeded')`)
	r.wait("the replay", func() bool { return r.count(`SELECT count(*) FROM lumin.replays WHERE state = 'done'`) == 1 })
	if effects, succeeded := heard.effects(t, "tx"); effects != events || succeeded != 2*events {
		t.Errorf("after a replay: %d effects and %d successes, want %d and %d", effects, succeeded, events, 2*events)
	}
}
