package worker_test

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lumin-ingest/worker"
)

// inQueue is a plain job type with its own queue. It counts how many of its
// jobs run at once.
type inQueue struct {
	*plainJob
	queue string
	most  *atomic.Int32
}

func newInQueue(queue string, gate <-chan struct{}) inQueue {
	j := inQueue{queue: queue, most: &atomic.Int32{}}
	running := &atomic.Int32{}
	j.plainJob = newPlainJob("in_"+queue, func(context.Context, *worker.Event, int) error {
		now := running.Add(1)
		defer running.Add(-1)
		for {
			most := j.most.Load()
			if now <= most || j.most.CompareAndSwap(most, now) {
				break
			}
		}
		<-gate
		return nil
	})
	return j
}

func (j inQueue) Queue() string { return j.queue }

// A queue has exactly its configured number of workers.
func TestQueues(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	gate := make(chan struct{})
	slow, wide := newInQueue("slow", gate), newInQueue("wide", gate)
	r.startConfig(worker.Config{MaxWorkers: 5, Queues: map[string]int{"slow": 2}}.Quick(time.Second), slow, wide)
	r.recordMany(1, 12, slow, wide)
	r.wait("both queues to be full", func() bool { return slow.most.Load() == 2 && wide.most.Load() == 5 })
	close(gate)
	r.waitQuiet()
	if slow.most.Load() != 2 || wide.most.Load() != 5 {
		t.Errorf("at most %d and %d at a time, want 2 and 5", slow.most.Load(), wide.most.Load())
	}
}

func TestQueuesRefused(t *testing.T) {
	t.Parallel()
	registry := registryOf(newPlainJob("plain", nil))
	for _, test := range []struct {
		queues map[string]int
		want   string
	}{
		{map[string]int{"slwo": 5}, `no job uses "slwo": the queues in use are default`},
		{map[string]int{"default": 0}, `"default" has 0 workers: give 1 to 1000`},
		{map[string]int{"default": 1001}, `give 1 to 1000`},
	} {
		_, err := worker.New(worker.Config{Registry: registry, Queues: test.queues})
		if !errors.Is(err, worker.ErrQueue) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: %v", test.queues, err)
		}
	}
}

// The default follows the processors where jobs occupy the database. A setting
// wins.
func TestDefaultWorkers(t *testing.T) {
	t.Parallel()
	registry := registryOf(newTxJob("tx", nil), newInQueue("plain", nil), &batchJob{kind: "together"})
	for _, c := range []struct {
		cfg             worker.Config
		tx, plain, conn int
	}{
		{worker.Config{CPUs: 1}, 4, 16, 4},
		{worker.Config{CPUs: 2}, 4, 16, 4},
		{worker.Config{CPUs: 4}, 8, 16, 8},
		{worker.Config{CPUs: 8}, 16, 16, 16},
		{worker.Config{CPUs: 64}, 16, 16, 16},
		{worker.Config{CPUs: 2, MaxWorkers: 9}, 9, 9, 9},
		{worker.Config{CPUs: 2, Queues: map[string]int{"default": 20, "plain": 3}}, 20, 3, 20},
		{worker.Config{CPUs: 2, MaxWorkers: 9, Queues: map[string]int{"plain": 3}}, 9, 3, 9},
		{worker.Config{}, min(max(2*runtime.GOMAXPROCS(0), 4), 16), 16, min(max(2*runtime.GOMAXPROCS(0), 4), 16)},
	} {
		c.cfg.Registry = registry
		want := map[string]int{"default": c.tx, "plain": c.plain, "together": 64}
		if got := c.cfg.QueueWorkers(); !maps.Equal(got, want) {
			t.Errorf("%d CPUs, %d workers, queues %v: %v, want %v", c.cfg.CPUs, c.cfg.MaxWorkers, c.cfg.Queues, got, want)
		}
		if got, want := c.cfg.JobConnections(), c.conn+1+2; got != want {
			t.Errorf("%d CPUs: %d connections, want %d", c.cfg.CPUs, got, want)
		}
	}
}

func TestConnections(t *testing.T) {
	t.Parallel()
	registry := registryOf(newTxJob("tx", nil), newInQueue("slow", nil))
	cfg := worker.Config{Registry: registry, MaxWorkers: 7, Queues: map[string]int{"slow": 30}}
	if jobs, work, river := cfg.JobConnections(), cfg.Connections(), cfg.RiverConnections(); jobs != 7 || work != 4+3 || river != 2+2 {
		t.Errorf("%d connections for transactional job types, %d for other work, %d for River", jobs, work, river)
	}
}
