package pages_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// Late events are marked by a word wherever events are listed. They can be replayed
// and dismissed from the list and from their page, after a plan.
func TestLateEvents(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.register(false, "book")
	r.record(delivery(1, "title", "book"))
	for n := 2; n <= 4; n++ {
		d := delivery(n, "title")
		d.Late = true
		r.record(d)
	}
	r.exec(`INSERT INTO lumin.programs (id, host, pid, role, job_kinds) VALUES (gen_random_uuid(), 'a', 1, 'all', '{book}')`)
	overview := r.get("/").want(200, "3 late events wait for a decision: no job type has run.")
	r.get("/events").want(200, "request-1", "request-2", "late")
	r.get("/events?request=request-1").want(200, "request-1").not("late book", "too old")
	list := r.get(overview.link("Replay or dismiss")).want(200, "request-2", "request-4", "not run", "so no job type got them").not("request-1 ")
	r.get("/requests/request-2").want(200, "late")
	r.get("/events?state=late&request=request-1").want(200, "No event matches")

	// One of them is replayed from its page.
	page := r.get("/events/2").want(200, "book late", "no run was created", "older than MAX_EVENT_AGE when it arrived", "It waits for a decision.")
	plan := r.get("/plan?do=replay&status=late&event=2&back=%2Fevents%2F2").want(200, "Replay late events", "Check first that no one has done by hand", "Replay 1 run")
	if !strings.Contains(page.body, "do=replay&amp;event=2&amp;status=late") {
		t.Error("the page does not lead to the plan")
	}
	r.post("/plan", plan.fields("/plan")).follow().want(200, "late")
	if got := r.value(`SELECT status || ' ' || event_ids::text || ' ' || ordered_by FROM lumin.replays`); !strings.HasPrefix(got, "late {2} ") {
		t.Errorf("ordered: %s", got)
	}

	// The others are dismissed from the list.
	dismiss := r.get(list.link("Dismiss…")).want(200, "Dismiss late events", "no longer wait for a decision", "Dismiss 3 runs")
	form := dismiss.fields("/plan")
	form.Set("reason", "booked by hand")
	r.post("/plan", form).follow().want(200, "request-3", "dismissed book")
	r.get("/").want(200).not("late event")
	r.get("/events/3").want(200, "book dismissed", "booked by hand", "older than MAX_EVENT_AGE").not("It waits for a decision.")
	if got := r.value(`SELECT string_agg(concat_ws(' ', action, outcome, result), '; ' ORDER BY id) FROM lumin.audit_log`); got != `replay done {"replay": 1}; dismiss done {"runs": 3}` {
		t.Errorf("audit log: %s", got)
	}
}

// The page of a recovered event says when and by whom it was recovered and that it
// has no signature. Its original is shown as such.
func TestRecoveredEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	err := pgx.BeginFunc(t.Context(), r.store.Pool(), func(tx pgx.Tx) error {
		_, err := r.store.RecoverTx(t.Context(), tx, store.Recovery{
			Payload: []byte(`{"event":{"event_time":1694664209999,"event_type":"signature_request_approved"},"signature_request":{"signature_request_id":"request-1"},
				"recovered":{"at":1694900000000,"by":"ann the operator <b>","api":"https://api.luminpdf.com/v1"}}`),
			RecoveredAt: time.UnixMilli(1694900000000),
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r.get("/events/1").want(200, "recovered", "No webhook reported this event", "Recovered by ann the operator <b>", "https://api.luminpdf.com/v1", "2023-09-16", "Signed with key none",
		"Lumin has not delivered this event.")
	r.get("/events").want(200, "recovered", "approved")
	r.get("/events?source=recovered").want(200, "request-1")
	r.get("/requests/request-1").want(200, "recovered")
	r.get("/sources").want(200).not("recovered")
	original := delivery(1, "title")
	original.Envelope.EventType = lumin.SignatureRequestApproved
	original.Payload = []byte(strings.Replace(string(original.Payload), "signature_request_signed", "signature_request_approved", 1))
	r.record(original)
	r.get("/events/1").want(200, "The original: Lumin delivered it after it was recovered", "Delivered 1 time").not("Lumin has not delivered")
	r.exec(`UPDATE lumin.events SET payload = NULL, payload_removed_at = now()`)
	r.get("/events/1").want(200, "No webhook reported this event", "removed the body").not("ann the operator")
}
