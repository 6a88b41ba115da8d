package pages_test

import (
	"testing"
	"time"

	"lumin-ingest/store/history"
)

// The overview shows what the history has, as pictures and as tables.
func TestOverview(t *testing.T) {
	t.Parallel()
	r := failed(t)
	w := history.NewWriter([16]byte{1})
	w.Delivery(history.Delivery{Source: "account", Result: "recorded", Verified: true, Took: 20 * time.Millisecond})
	w.Delivery(history.Delivery{Source: "account", Result: "refused", Reason: "signature_mismatch"})
	if err := w.Flush(t.Context(), r.store.Pool()); err != nil {
		t.Fatal(err)
	}
	r.exec(`INSERT INTO lumin.programs (id, host, pid, role, job_kinds) VALUES (gen_random_uuid(), 'a', 1, 'all', '{book,mail}')`)
	for _, query := range []string{"", "?range=hour", "?range=week", "?range=month", "?range=nonsense"} {
		p := r.get("/"+query).want(200, "3 runs have failed for good. Most of them, 2, are of book: no such account", "Deliveries by result", "refused", "Time to answer a delivery", "99 % within")
		if pictures := len(p.all("svg")); pictures < 4 {
			t.Errorf("%d pictures", pictures)
		}
	}
	r.get("/").link("Fix the cause, then replay them")
}
