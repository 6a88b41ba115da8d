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

// Each type that can be recovered has a value, and other types have none. A failed
// count hides the metric.
func TestRecoveredEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var away error
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(admin.NewRecoveredCollector(admin.NewCounting(t.Context(), 1), func(context.Context) ([]store.RecoveredCount, error) {
			return []store.RecoveredCount{{EventType: "signature_request_approved", Events: 7}, {EventType: "from a body", Events: 1}}, away
		}))
		page := counted(t, registry)
		for _, want := range []string{
			`lumin_recovered_events{event_type="signature_request_approved"} 7`, `lumin_recovered_events{event_type="signature_request_declined"} 0`,
			`lumin_recovered_events{event_type="signature_request_canceled"} 0`, `lumin_recovered_events{event_type="signature_request_invalid"} 0`,
			`lumin_recovered_events{event_type="signature_request_downloadable"} 0`,
		} {
			if !strings.Contains(page, want+"\n") {
				t.Errorf("no %s in\n%s", want, page)
			}
		}
		if strings.Contains(page, "from a body") || strings.Count(page, "\nlumin_recovered_events{") != 5 {
			t.Errorf("other types:\n%s", page)
		}
		away = errors.New("away")
		time.Sleep(6 * time.Minute)
		if page := counted(t, registry); strings.Contains(page, "lumin_recovered") {
			t.Errorf("after 6 minutes:\n%s", page)
		}
	})
}
