package admin_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/admin"
	"lumin-ingest/store/lanes"
)

// A job type whose lanes can be held has a zero while none is. A failed or slow
// count hides both metrics instead of showing an old value.
func TestHeldLanes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var (
			away   error
			counts int
		)
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(admin.NewLaneCollector(admin.NewCounting(t.Context(), 1), func(context.Context) ([]lanes.Held, error) {
			counts++
			return []lanes.Held{{Kind: "book", Lanes: 2, Age: 90}, {Kind: "send"}}, away
		}))
		for range 2 {
			page := counted(t, registry)
			for _, want := range []string{
				`lumin_held_lanes{kind="book"} 2`, `lumin_oldest_held_lane_age_seconds{kind="book"} 90`,
				`lumin_held_lanes{kind="send"} 0`, `lumin_oldest_held_lane_age_seconds{kind="send"} 0`,
			} {
				if !strings.Contains(page, want+"\n") {
					t.Errorf("no %s in\n%s", want, page)
				}
			}
		}
		if counts != 1 {
			t.Errorf("counted %d times", counts)
		}
		away = errors.New("away")
		time.Sleep(6 * time.Minute)
		if page := counted(t, registry); strings.Contains(page, "held_lane") {
			t.Errorf("after 6 minutes:\n%s", page)
		}
	})
}
