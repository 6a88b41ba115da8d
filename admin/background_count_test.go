package admin_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lumin-ingest/store"
)

// shown reports whether a scrape of the metrics has counted runs.
func shown(page string) bool { return strings.Contains(page, "lumin_failed_runs{") }

// A slow count does not remove its metric, so a rule that must hold for five minutes
// can fire.
func TestSlowCountsLeaveNoGap(t *testing.T) {
	t.Parallel()
	for _, takes := range []time.Duration{5 * time.Second, 30 * time.Second, 59 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			registry := newCounts(t.Context(), func(context.Context) ([]store.RunCount, error) {
				time.Sleep(takes)
				return []store.RunCount{{Kind: "book", State: "failed", Runs: 1}}, nil
			})
			counted(t, registry)
			time.Sleep(takes)
			for start := time.Now(); time.Since(start) < time.Hour; time.Sleep(time.Minute) {
				if !shown(counted(t, registry)) {
					t.Fatalf("a count takes %v: there is no metric %v after the first count", takes, time.Since(start))
				}
			}
			time.Sleep(takes) // let a running count end
		})
	}
}

// A connection that hangs delays the next count by no more than that took.
func TestCountAfterSlowFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var away atomic.Bool
		away.Store(true)
		registry := newCounts(t.Context(), func(context.Context) ([]store.RunCount, error) {
			if away.Load() {
				time.Sleep(20 * time.Second)
				return nil, errors.New("away")
			}
			return []store.RunCount{{Kind: "book", State: "failed", Runs: 1}}, nil
		})
		counted(t, registry)
		time.Sleep(20 * time.Second)
		away.Store(false)
		if shown(counted(t, registry)) {
			t.Error("counted without a pause after a slow failure")
		}
		time.Sleep(20 * time.Second)
		if !shown(counted(t, registry)) {
			t.Error("not counted 20 s after the failure")
		}
	})
}

// An old result is shown until the next count ends, and not after that failed.
func TestOldCountIsShownDuringTheNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := false
		registry := newCounts(t.Context(), func(context.Context) ([]store.RunCount, error) {
			if slow {
				time.Sleep(50 * time.Second)
				return nil, errors.New("away")
			}
			return []store.RunCount{{Kind: "book", State: "failed", Runs: 1}}, nil
		})
		counted(t, registry)
		slow = true
		time.Sleep(4*time.Minute + 50*time.Second)
		counted(t, registry) // starts the next count
		time.Sleep(20 * time.Second)
		if !shown(counted(t, registry)) {
			t.Error("not shown while the next count is under way")
		}
		time.Sleep(30 * time.Second)
		if shown(counted(t, registry)) {
			t.Error("shown after the next count failed")
		}
	})
}
