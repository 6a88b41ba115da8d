package pages_test

import (
	"strings"
	"testing"

	"lumin-ingest/admin/pages"
)

// The number of a group leads to its events, and a list of events to the plan for all
// that match.
func TestEventsOfAGroup(t *testing.T) {
	t.Parallel()
	r := failed(t)
	group := r.get("/failures").link("2 runs: show the events of book, no such account")
	list := r.get(group).want(200, "request-1", "request-2", "All that match:").not("request-3 ")
	r.get(list.link("Replay…")).want(200, "Replay failed runs of book", "Replay 2 runs")
	form := r.get(list.link("Dismiss…")).want(200, "Dismiss 2 runs").fields("/plan")
	form.Set("reason", "test data")
	r.post("/plan", form)
	dismissed := r.get(strings.Replace(group, "state=failed", "state=dismissed", 1)).want(200, "request-1")
	r.get(dismissed.link("Restore…")).want(200, "Restore 2 runs")

	r.exec(`UPDATE lumin.runs SET state = 'cancelled' WHERE state = 'failed'`)
	r.get(r.get("/events?state=cancelled&source=account").link("Replay…")).want(200, "Replay 1 run")
	r.exec(`UPDATE lumin.runs SET state = 'pending', finished_at = NULL, error = 'not yet' WHERE state = 'cancelled'`)
	r.exec(`UPDATE lumin.river_job j SET state = 'retryable', attempt = 1, attempted_at = now(), finalized_at = NULL, scheduled_at = now() + interval '1 h'
		FROM lumin.runs r WHERE r.job_id = j.id AND r.state = 'pending'`)
	retrying := r.get("/events?state=retrying&kind=book").want(200, "request-3")
	r.get(retrying.link("Retry now…")).want(200, "Replay 1 run")
	r.get(retrying.link("Cancel…")).want(200, "Cancel 1 run")
	r.get("/failures?state=retrying").want(200, "First Last Next attempt", "in 59 min")

	// A plan cannot choose runs by the beginning of an id, nor all dismissed runs.
	for _, query := range []string{"state=retrying&id=request", "state=dismissed", "state=succeeded", "kind=book"} {
		r.get("/events?" + query).not("All that match:")
	}
	r.caller = pages.Caller{Name: "bob"}
	r.get("/events?state=retrying").want(200, "request-3").not("All that match:")
}

// A search for the beginning of an id goes on, also if another filter is set.
func TestPagesOfAnID(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.register(false, "book")
	for i := range 60 {
		r.record(delivery(i, "title", "book"))
	}
	r.fail("book", "broken")
	first := r.get("/events?id=request-&state=failed").want(200, "More events").not("No event matches", "Older events")
	second := r.get(first.link("More events")).want(200, "Back to the first page").not("More events")
	if n := len(first.all("tr")) + len(second.all("tr")); n != 62 {
		t.Errorf("%d rows, want 60 and two headings", n)
	}
	for _, bad := range []string{"e30x", "eyJLaW5kIjoieFx1MDAwMCJ9", "eyJSZXF1ZXN0IjoieFx1MDAwMCJ9"} { // {"Request":"x\u0000"}
		r.get("/events?id=request-&from="+bad).want(400, "This address is invalid")
	}
	if to := r.get("/find?q=request-").header.Get("Location"); to != "/events?id=request-" {
		t.Errorf("the search leads to %s", to)
	}
	if to := r.get("/find?q=request-17").header.Get("Location"); to != "/requests/request-17" {
		t.Errorf("the search leads to %s", to)
	}
}

// Long bodies are not compared on the page of an event, which is refreshed, but on that
// of their conflict.
func TestLongBodies(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	long := strings.Repeat("x", 70_000)
	r.record(delivery(1, long+" first"), delivery(1, long+" second"), delivery(2, "short"), delivery(2, long))
	for _, path := range []string{"/events/1", "/events/" + r.value(`SELECT max(id)::text FROM lumin.events`)} {
		page := r.get(path).want(200, "too long to be compared on this page", "The page of the conflict compares them.").not("First body")
		r.get(page.link("Decide…")).want(200, "signature_request.title", "First body").not("too long to be compared")
	}
}

// Lists that are longer than a page say so, and lead on if their order is a key.
func TestLongLists(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.register(false, "book")
	r.record(delivery(1, "title", "book"))
	r.exec(`INSERT INTO lumin.replays (ordered_by, reason, status) SELECT 'ann', 'reason-' || n, 'failed' FROM generate_series(1, 120) n`)
	page := r.get("/replays").want(200, "reason-120", "reason-71", "Newest replays").not("reason-70")
	page = r.get(page.link("Older replays")).want(200, "reason-70", "reason-21", "Back to the newest").not("reason-71")
	page = r.get(page.link("Older replays")).want(200, "reason-20", "reason-1").not("Older replays…")
	if strings.Contains(page.body, "before=1\"") {
		t.Error("the last page leads on")
	}
	r.get("/replays?before=x").want(400, "This address is invalid")

	r.exec(`INSERT INTO lumin.redeliveries (event_id, payload_sha256, differs, count, first_at, last_at)
		SELECT 1, decode(md5(n::text), 'hex'), 'content', n, now(), now() - interval '1 s' * (n / 4) FROM generate_series(1, 130) n`)
	page = r.get("/conflicts").want(200)
	rest := r.get(page.link("Older conflicts")).want(200, "Back to the newest").not("Older conflicts")
	if first, second := len(page.all("tr")), len(rest.all("tr")); first != 101 || second != 31 {
		t.Errorf("%d and %d rows, want 101 and 31", first, second)
	}
	r.get("/conflicts?from=eyJJRCI6MSwiS2luZCI6IngifQ").want(400, "This address is invalid") // {"ID":1,"Kind":"x"}

	r.exec(`WITH e AS (INSERT INTO lumin.events (event_key, source, payload, payload_sha256, signature, key_id, received_at)
		    SELECT gen_random_uuid(), 'account', '', '', '', 'k', now() FROM generate_series(1, 51) RETURNING id, event_key)
		INSERT INTO lumin.runs (event_key, job_kind, event_id, job_id, state, finished_at, error)
		SELECT event_key, 'kind_' || translate(id::text, '0123456789', 'abcdefghij'), id, id, 'failed', now(), 'broken' FROM e`)
	r.get("/failures").want(200, "There are more groups. Only the biggest are shown")
	r.failedFollowUps("send_copy", 50)
	r.get("/failures").want(200, "Failed follow-up jobs").not("There are more jobs.")
	r.failedFollowUps("send_mail", 1)
	r.get("/failures").want(200, "There are more jobs. Only the newest are shown")
}
