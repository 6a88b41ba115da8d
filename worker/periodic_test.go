package worker_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lumin-ingest/worker"
)

// One program at a time does periodic work. A failure does not affect the next
// time.
func TestPeriodic(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var running, most, calls atomic.Int32
	second, overtake, again := make(chan struct{}), make(chan struct{}), make(chan struct{})
	for range 2 {
		registry := worker.NewRegistry()
		registry.AddPeriodic(worker.Periodic{Kind: "tidy", Every: time.Second, Timeout: time.Minute, Work: func(context.Context) error {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			switch calls.Add(1) {
			case 1:
				panic("canary@example.com")
			case 2:
				close(second)
				<-overtake // meanwhile the next time has passed
			case 3:
				close(again)
			}
			return nil
		}})
		r.startRegistry(worker.Config{}.Quick(time.Second), registry)
	}
	<-second
	inserts := r.count(`SELECT last_value FROM lumin.river_job_id_seq`)
	r.wait("the next time", func() bool { return r.count(`SELECT last_value FROM lumin.river_job_id_seq`) > inserts })
	close(overtake)
	<-again
	if most.Load() != 1 {
		t.Errorf("%d at a time", most.Load())
	}
	if n := r.count(`SELECT count(*) FROM lumin.river_job WHERE kind = 'tidy' AND state = 'discarded'`); n != 1 {
		t.Errorf("%d jobs failed, want 1", n)
	}
	checkCanaries(t, r)
}

func TestPeriodicRefused(t *testing.T) {
	t.Parallel()
	work := func(context.Context) error { return nil }
	for want, p := range map[string]worker.Periodic{
		"Kind must be":             {Every: time.Minute, Timeout: time.Minute, Work: work},
		"Kind is taken by *work":   {Kind: "plain", Every: time.Minute, Timeout: time.Minute, Work: work},
		"Every is 1ms":             {Kind: "tidy", Every: time.Millisecond, Timeout: time.Minute, Work: work},
		"Timeout is 0s":            {Kind: "tidy", Every: time.Minute, Work: work},
		"Work is nil":              {Kind: "tidy", Every: time.Minute, Timeout: time.Minute},
		"reserved for the program": {Kind: "lumin_tidy", Every: time.Minute, Timeout: time.Minute, Work: work},
	} {
		registry := registryOf(newPlainJob("plain", nil))
		registry.AddPeriodic(p)
		if err := registry.Err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", p, err, want)
		}
	}
}
