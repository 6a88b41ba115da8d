package admin_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/admin"
	"lumin-ingest/store"
	"lumin-ingest/store/lanes"
)

// counted returns the metrics page of a registry.
func counted(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	return get(admin.New(admin.Config{Gatherer: registry}), "/metrics").Body.String()
}

func newCounts(ctx context.Context, count func(context.Context) ([]store.RunCount, error)) *prometheus.Registry {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(admin.NewRunCountCollector(admin.NewCounting(ctx, 1), count))
	return registry
}

// The database counts at most every ten seconds, even if scrapes are more
// frequent.
func TestRunCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		registry := newCounts(t.Context(), func(context.Context) ([]store.RunCount, error) {
			n := asked.Add(1)
			return []store.RunCount{{Kind: "book", State: "failed", Runs: n}, {Kind: "book", State: "pending", Runs: 0}, {Kind: "send", State: "failed", Runs: 7}}, nil
		})
		for range 3 {
			page := counted(t, registry)
			for _, want := range []string{`lumin_failed_runs{kind="book"} 1`, `lumin_pending_runs{kind="book"} 0`, `lumin_failed_runs{kind="send"} 7`} {
				if !strings.Contains(page, want+"\n") {
					t.Errorf("no %s in\n%s", want, page)
				}
			}
		}
		time.Sleep(10 * time.Second)
		if page := counted(t, registry); !strings.Contains(page, `lumin_failed_runs{kind="book"} 2`) {
			t.Errorf("not counted again:\n%s", page)
		}
	})
}

// A slow count delays a scrape by two seconds at most, and uses at most a
// twentieth of the database's time.
func TestSlowRunCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		registry := newCounts(t.Context(), func(ctx context.Context) ([]store.RunCount, error) {
			asked.Add(1)
			select {
			case <-time.After(5 * time.Second):
				return []store.RunCount{{Kind: "book", State: "failed", Runs: 1_000_000}}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		start := time.Now()
		if page := counted(t, registry); strings.Contains(page, "lumin_failed_runs{") || time.Since(start) != 2*time.Second {
			t.Errorf("after %v:\n%s", time.Since(start), page)
		}
		time.Sleep(4 * time.Second)
		for range 9 {
			if page := counted(t, registry); !strings.Contains(page, `lumin_failed_runs{kind="book"} 1e+06`) {
				t.Errorf("after %v:\n%s", time.Since(start), page)
			}
			time.Sleep(10 * time.Second)
		}
		if asked.Load() != 1 {
			t.Errorf("counted %d times in %v", asked.Load(), time.Since(start))
		}
		counted(t, registry)
		time.Sleep(20 * time.Second)
		counted(t, registry)
		if asked.Load() != 2 {
			t.Errorf("counted %d times in %v", asked.Load(), time.Since(start))
		}
		time.Sleep(10 * time.Second) // let the running count end
	})
}

// A result older than five minutes is not shown.
func TestStaleRunCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		away := false
		registry := newCounts(t.Context(), func(context.Context) ([]store.RunCount, error) {
			if away {
				return nil, errors.New("away")
			}
			return []store.RunCount{{Kind: "book", State: "failed", Runs: 3}}, nil
		})
		counted(t, registry)
		away = true
		time.Sleep(4 * time.Minute)
		if page := counted(t, registry); !strings.Contains(page, "lumin_failed_runs{") {
			t.Errorf("after 4 minutes:\n%s", page)
		}
		time.Sleep(2 * time.Minute)
		if page := counted(t, registry); strings.Contains(page, "lumin_failed_runs{") {
			t.Errorf("after 6 minutes:\n%s", page)
		}
	})
}

// A count that hangs ends with the program.
func TestRunCountsEndWithTheProgram(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		registry := newCounts(ctx, func(ctx context.Context) ([]store.RunCount, error) {
			defer close(ended)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		counted(t, registry)
		cancel()
		<-ended
	})
}

func TestBuildInfo(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(admin.NewBuildCollector())
	if page := counted(t, registry); !strings.Contains(page, `lumin_build_info{goversion="go1.`) || !strings.Contains(page, `version="`) || !strings.Contains(page, "} 1\n") {
		t.Error(page)
	}
}

// A count waits while as many others run as the Counting allows.
func TestCountsTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int64
		count := func() {
			most.Store(max(most.Load(), running.Add(1)))
			time.Sleep(5 * time.Second)
			running.Add(-1)
		}
		registry, counting := prometheus.NewRegistry(), admin.NewCounting(t.Context(), 2)
		registry.MustRegister(
			admin.NewRunCountCollector(counting, func(context.Context) ([]store.RunCount, error) {
				count()
				return []store.RunCount{{Kind: "book", State: "failed", Runs: 1}}, nil
			}),
			admin.NewLaneCollector(counting, func(context.Context) ([]lanes.Held, error) {
				count()
				return []lanes.Held{{Kind: "book"}}, nil
			}),
			admin.NewQueueCollector(counting, func(context.Context) ([]store.QueueDepth, error) {
				count()
				return []store.QueueDepth{{Queue: "book"}}, nil
			}))
		counted(t, registry)
		time.Sleep(11 * time.Second) // all three have counted
		page := counted(t, registry)
		for _, want := range []string{"lumin_failed_runs{", "lumin_held_lanes{", "lumin_queued_jobs{"} {
			if !strings.Contains(page, want) {
				t.Errorf("no %s in\n%s", want, page)
			}
		}
		if most.Load() != 2 {
			t.Errorf("%d counts ran at once, want 2", most.Load())
		}
		time.Sleep(11 * time.Second) // let a running count end
	})
}
