package pages_test

import (
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"lumin-ingest/admin/pages"
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
		p := r.get("/"+query).want(200, "3 runs have failed for good. The largest group, 2, is of book: no such account", "Deliveries by result", "refused", "Time to answer a delivery", "99 % within",
			"Deliveries by source, result and reason", "account refused signature_mismatch 1", "account recorded – 1")
		if pictures := len(p.all("svg")); pictures < 4 {
			t.Errorf("%d pictures", pictures)
		}
	}
	r.get("/").link("Fix the cause, then replay them")
}

// The verdict names deliveries that were not recorded, and those without an identity,
// also if the clock of the machine is wrong.
func TestLostDeliveries(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cfg := r.config()
	cfg.Now = func() time.Time { return time.Now().Add(-3 * time.Hour) }
	r.echo = echo.New()
	pages.New(cfg).Register(r.echo.Group(""))
	r.exec(`INSERT INTO lumin.programs (id, host, pid, role, job_kinds) VALUES (gen_random_uuid(), 'a', 1, 'all', '{book}')`)
	w := history.NewWriter([16]byte{1})
	w.Delivery(history.Delivery{Source: "account", Result: "unrecognized", Verified: true, Took: 20 * time.Millisecond})
	w.Delivery(history.Delivery{Source: "account", Result: "unavailable", Reason: "database_unavailable"})
	if err := w.Flush(t.Context(), r.store.Pool()); err != nil {
		t.Fatal(err)
	}
	p := r.get("/?range=hour").want(200, "account unavailable database_unavailable 1", "1 delivery was not recorded in the last 10 minutes", "1 delivery of the last hour had no usable identity").not("All is well")
	if got := p.link("Show the unrecognized events") + " " + p.link("Show the readiness checks"); got != "/unrecognized /readyz" {
		t.Errorf("the links lead to %s", got)
	}
}
