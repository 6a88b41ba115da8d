package api_test

import (
	"testing"
	"time"

	"lumin-ingest/admin/window"
	"lumin-ingest/store/history"
)

// The history has totals by source and reason, and by job type, beside the steps.
func TestHistory(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := history.NewWriter([16]byte{1})
	w.Delivery(history.Delivery{Source: "account", Result: "recorded", Verified: true, Took: time.Millisecond})
	for range 2 {
		w.Delivery(history.Delivery{Source: "app:crm", Result: "refused", Reason: "signature_mismatch"})
	}
	w.Attempt(history.Attempt{Kind: "greet", Outcome: "succeeded", Worked: 20 * time.Millisecond, Effect: -1})
	if err := w.Flush(t.Context(), r.store.Pool()); err != nil {
		t.Fatal(err)
	}
	r.record(delivery(1, "greet"))
	if err := history.NoteBacklog(t.Context(), r.store.Pool()); err != nil {
		t.Fatal(err)
	}
	h := get[window.History](r, "/history")
	if n := len(h.DeliveryTotals); n != 2 || h.DeliveryTotals[0] != (window.DeliveryTotal{Source: "app:crm", Result: "refused", Reason: "signature_mismatch", Count: 2}) {
		t.Errorf("deliveries %+v", h.DeliveryTotals)
	}
	if len(h.AttemptTotals) != 1 || h.AttemptTotals[0] != (window.AttemptTotal{Kind: "greet", Outcome: "succeeded", Count: 1}) {
		t.Errorf("attempts %+v", h.AttemptTotals)
	}
	if len(h.WorkTimes) != 1 || h.WorkTimes[0].Count != 1 || h.WorkTimes[0].Mean != 0.02 {
		t.Errorf("durations %+v", h.WorkTimes)
	}
	if len(h.Backlog) != 1 {
		t.Errorf("backlog %+v", h.Backlog)
	}
	h = get[window.History](r, "/history?source=account&job_kind=none")
	if len(h.DeliveryTotals) != 1 || h.DeliveryTotals[0].Source != "account" || len(h.AttemptTotals)+len(h.WorkTimes) > 0 {
		t.Errorf("of a source: %+v", h)
	}
}
