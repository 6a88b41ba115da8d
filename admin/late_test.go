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
	"lumin-ingest/store"
)

// The count is shown also when it is 0, and hidden if it fails.
func TestWaitingLateEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var (
			away  error
			count store.WaitingLate
		)
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(admin.NewLateCollector(admin.NewCounting(t.Context(), 1), func(context.Context) (store.WaitingLate, error) { return count, away }))
		for _, test := range []struct {
			count store.WaitingLate
			want  string
		}{
			{store.WaitingLate{}, "lumin_waiting_late_events 0\n"}, {store.WaitingLate{Events: 3}, "lumin_waiting_late_events 3\n"},
		} {
			count = test.count
			if page := counted(t, registry); !strings.Contains(page, test.want) {
				t.Errorf("no %s in\n%s", test.want, page)
			}
			time.Sleep(6 * time.Minute)
		}
		away = errors.New("away")
		if page := counted(t, registry); strings.Contains(page, "lumin_waiting_late_events ") {
			t.Errorf("after an error:\n%s", page)
		}
	})
}
