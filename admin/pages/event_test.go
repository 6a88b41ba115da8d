package pages_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"lumin-ingest/admin/pages"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
)

// value is one value of the database.
func (r *rig) value(sql string) string {
	r.Helper()
	return pgtest.Value[string](r, r.store.Pool(), sql)
}

func TestEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.register(false, "book", "send")
	r.record(delivery(1, "title", "book", "send"))
	r.fail("book", "the ledger is closed")
	p := r.get("/events/1").want(200, "book failed", "send", "Queued", "Failed after 1 attempt", "Waits for a worker",
		"request-1", "account", "0011223344556677", "a•••@example.com", "https://example.com/?•••", "Lumin has delivered this event once.").
		not("ann@example.com", "secret-token")
	if plan := p.link("Replay…"); plan != "/plan?back=%2Fevents%2F1&do=replay&event=1&kind=book&status=failed" {
		t.Errorf("replay leads to %s", plan)
	}
	job := r.value(`SELECT job_id::text FROM lumin.runs WHERE job_kind = 'book'`)
	if got := p.link("Job " + job + " in River"); got != "/river/jobs/"+job {
		t.Errorf("the job leads to %s", got)
	}
	r.get("/jobs/"+job).follow().want(200, "book failed")
	r.get("/jobs/999999").want(404, "The job has been removed")
	for _, path := range []string{"/events/2", "/events/x", "/events/-1", "/jobs/x"} {
		if p := r.get(path); p.status != 404 {
			t.Errorf("%s: %d", path, p.status)
		}
	}
}

// Personal data is shown only to those who may see it, and with a row in the audit
// log.
func TestReveal(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record(delivery(1, "for bob@example.com", "book"))
	rows := func() string {
		return r.value(`SELECT coalesce(string_agg(concat_ws(' ', actor, via, from_address, action, subject, outcome), '; ' ORDER BY id), '') FROM lumin.audit_log`)
	}
	r.get("/requests/request-1").want(200, "for b•••@example.com").not("bob@")
	if got := rows(); got != "" {
		t.Errorf("reading wrote %s", got)
	}
	for _, path := range []string{"/events/1/reveal", "/events/1/body", "/requests/request-1/reveal"} {
		r.caller = pages.Caller{Name: "ann"}
		r.post(path, url.Values{}).want(403, "operate").not("bob", "secret-token")
		if got := rows(); got != "" {
			t.Errorf("refused, but wrote %s", got)
		}
	}
	r.get("/events/1").want(200, "needs the role operate")
	r.caller = pages.Caller{Name: "ann", From: "10.0.0.7", MayOperate: true}
	r.post("/events/1/reveal", nil).want(200, "for bob@example.com", "token=secret-token", "Personal data is shown")
	exact := r.post("/events/1/body", nil).answered(200)
	if stored := r.value(`SELECT convert_from(payload, 'UTF8') FROM lumin.events`); exact.body != stored {
		t.Errorf("downloaded %q, want %q", exact.body, stored)
	}
	if got := exact.header.Get("Content-Disposition"); got != `attachment; filename="event-1.json"` {
		t.Errorf("Content-Disposition %q", got)
	}
	r.exec(`INSERT INTO lumin.signature_requests (signature_request_id, title) VALUES ('request-1', 'for bob@example.com')`)
	r.get("/requests/request-1").want(200, "for b•••@example.com").not("bob@")
	r.post("/requests/request-1/reveal", nil).want(200, "for bob@example.com")
	if got, want := rows(), `ann dashboard 10.0.0.7 reveal {"what": "event", "event": 1} done; `+
		`ann dashboard 10.0.0.7 reveal {"what": "body", "event": 1} done; `+
		`ann dashboard 10.0.0.7 reveal {"what": "signature_request", "signature_request_id": "request-1"} done`; got != want {
		t.Errorf("audit log:\n%s\nwant\n%s", got, want)
	}
	r.get("/audit").want(200, "reveal", "ann", "10.0.0.7", "request-1")
	r.get("/audit?action=replay").want(200, "No change matches")
	r.get("/audit?before=x").want(400)
	// Without a row in the log, nothing is shown.
	r.exec(`ALTER TABLE lumin.audit_log RENAME TO other`)
	for _, path := range []string{"/events/1/reveal", "/events/1/body", "/requests/request-1/reveal"} {
		r.post(path, nil).want(500).not("bob", "secret-token")
	}
}

// Once everything has been erased, there is nothing left to show.
func TestNothingToReveal(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record(delivery(1, "title", "book"))
	r.get("/requests/request-1").want(200, "Show personal data")
	r.exec(`UPDATE lumin.events SET payload = NULL, payload_removed_at = now()`)
	for _, caller := range []pages.Caller{{Name: "ann", MayOperate: true}, {Name: "bob"}} {
		r.caller = caller
		for _, path := range []string{"/requests/request-1", "/events/1"} {
			r.get(path).want(200).not("personal data", "masked")
		}
	}
	r.exec(`INSERT INTO lumin.signature_requests (signature_request_id, title) VALUES ('request-1', 'title')`)
	r.get("/requests/request-1").want(200, "masked")
}

// A failed run is dismissed and restored from the page of its event, and a retrying
// one is cancelled.
func TestActionsOnRun(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record(delivery(1, "a", "book", "mail"))
	r.fail("book", "timeout")
	r.exec(`UPDATE lumin.river_job SET state = 'retryable', attempt = 1, errors = ARRAY['{"error":"timeout"}'::jsonb] WHERE kind = 'mail'`)
	act := func(text, plan, after string) {
		t.Helper()
		form := r.get(r.get("/events/1").link(text)).want(200, plan).fields("/plan")
		form.Set("reason", "test")
		if to := r.post("/plan", form).answered(303).header.Get("Location"); to != "/events/1" {
			t.Errorf("%s leads to %s", text, to)
		}
		r.get("/events/1").want(200, after)
	}
	act("Cancel…", "Cancel 1 run", "mail cancelled")
	act("Dismiss…", "Dismiss 1 run", "book dismissed")
	act("Restore…", "Restore 1 run", "book failed")
	r.caller = pages.Caller{Name: "bob"}
	r.get("/events/1").want(200).not("Dismiss…", "Replay…")
}

// A page with revealed data is an answer to POST. It is not refreshed, and the form of
// the theme leads to the page that GET answers.
func TestRevealedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record(delivery(1, "a", "book"))
	for _, path := range []string{"/events/1", "/requests/request-1"} {
		if masked := r.get(path).want(200); !strings.Contains(masked.body, "data-live") {
			t.Errorf("%s is not refreshed", path)
		}
		shown := r.post(path+"/reveal", nil).want(200, "Hide personal data")
		if strings.Contains(shown.body, "data-live") {
			t.Errorf("%s is refreshed after it was revealed", path)
		}
		if back := shown.fields("/theme").Get("back"); back != path {
			t.Errorf("the theme leads from %s to %s", path, back)
		}
	}
}

// A body that is not JSON is hidden until somebody asks for it.
func TestOddBodies(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	odd := func(n int, payload string) store.Delivery {
		d := delivery(n, "title")
		d.Envelope, d.Payload = nil, []byte(payload)
		return d
	}
	r.record(odd(1, "ann@example.com <script>"), odd(2, "{}\x00ann@example.com"), odd(3, strings.Repeat(`"ann@example.com `, 10000)), odd(4, `["ann@example.com"]`))
	r.get("/events/1").want(200, "hidden until you ask for it", "unrecognized").not("ann@")
	r.post("/events/1/reveal", nil).want(200, "ann@example.com <script>")
	r.get("/events/2").want(200).not("ann@")
	r.post("/events/2/reveal", nil).want(200, "Download it instead").not("ann@")
	r.get("/events/3").want(200, "too long", "bytes").not("ann@")
	r.get("/events/4").want(200, "a•••@example.com")
	r.get("/unrecognized").want(200, "Event 1", "Event 4", "Replay all…")
	r.exec(`UPDATE lumin.events SET payload = NULL, payload_removed_at = now()`)
	r.get("/events/1").want(200, "removed the body")
	r.post("/events/1/body", nil).want(410)
}

func TestConflicts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.register(false, "book")
	first, other := delivery(1, "first title", "book"), delivery(1, "other title", "book")
	other.Payload = []byte(strings.Replace(string(other.Payload), "ann@example.com", "bob@example.com", 1))
	again := delivery(1, "first title", "book")
	again.Payload = []byte(strings.Replace(string(again.Payload), "secret-token", "new-token", 1))
	r.record(first, first, other, again)
	p := r.get("/events/1").want(200, "Another content", "The same body", "The same but for details_url", "signature_request.title", "first title", "other title", "undecided").
		not("bob@", "ann@", "secret-token", "new-token")
	list := r.get("/conflicts").want(200, "two signers", "request-1", "undecided")
	path := p.link("Decide…")
	if !strings.Contains(list.body, `href="`+path+`"`) {
		t.Errorf("the list has no link to %s", path)
	}
	r.get(path).want(200, "by a•••@example.com", "by b•••@example.com", "It runs book.", "Promote", "Dismiss").not("bob@", "ann@")
	r.post(path, url.Values{"decision": {"promote"}}).want(400, "A reason is missing")
	r.post(path, url.Values{"decision": {"x"}, "reason": {"two"}}).want(400)
	r.caller.MayOperate = false
	r.post(path, url.Values{"decision": {"promote"}, "reason": {"two"}}).want(403)
	r.get(path).want(200, "Showing them needs the role operate")
	r.post(path+"/reveal", nil).want(403).not("bob@", "ann@")
	r.caller.MayOperate = true
	r.get(path).want(200, "Show personal data")
	r.post(path+"/reveal", nil).want(200, "by ann@example.com", "by bob@example.com", "Personal data is shown").not("two signers may look the same")
	if got := r.value(`SELECT string_agg(subject::text, ' ') FROM lumin.audit_log`); got != `{"what": "conflict", "event": 1}` {
		t.Errorf("the audit log has %s", got)
	}
	r.post("/events/1/conflicts/00/reveal", nil).want(404)
	r.post(path, url.Values{"decision": {"promote"}, "reason": {"two signers"}}).follow().want(200, "Promoted from", "Event 1")
	r.get(path).want(200, "promoted by ann", "two signers").not("Dismiss if")
	r.get("/conflicts").want(200, "No conflict waits for a decision.")
	r.get("/conflicts?all=1&signers=1").want(200, "promoted")
	r.post(path, url.Values{"decision": {"dismiss"}, "reason": {"x"}}).want(409, "Not decided")
	r.get("/events/1/conflicts/00").want(404)
	r.get("/audit").want(200, "promote_conflict", "two signers")
}

func TestRequest(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.register(false, "book")
	d := delivery(1, "title", "book")
	d.Payload = []byte(strings.Replace(string(d.Payload), `"title"`, `"signers":[{"name":"Ann Other","email":"ann@example.com","status":"NEED_TO_SIGN","group":2},{"email_address":"x","status":{}}],"title"`, 1))
	other := d
	other.Source, other.KeyID = "app:crm", "ffff"
	r.record(d, other)
	r.fail("book", "the ledger is closed")
	r.get("/requests/request-1").want(200, "signed #", "account", "app:crm", "book", "failed", "the ledger is closed", "A•••", "a•••@example.com", "NEED_TO_SIGN", "Not stored").not("Ann Other")
	r.get("/requests/none").want(404, "No such signature request")
	r.get("/sources").want(200, "account", "app:crm", "0011223344556677", "ffff", "signed last", "does not receive")
	r.get("/find?q=request-1").follow().want(200, "What happened")
	r.get("/find?q=1").follow().want(200, "Event 1")
	r.get("/find?q=nothing").follow().want(200, "No event matches")
	r.get("/find?q=").follow().want(200, "Newest events")
	r.get("/find?q="+r.value(`SELECT min(event_key::text) FROM lumin.events`)).follow().want(200, "both share their runs")
}

// Whatever an id contains, its link leads to its page.
func TestOddIDs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i, id := range []string{"a/b", "a?b#c", "..", ".", "%2e", "a b+c", `<script>"'`, "\u202e", strings.Repeat("x", 2000), "a/../../x"} {
		d := delivery(i, "title")
		d.Envelope.SignatureRequestID = id
		r.record(d)
		path := ""
		for _, a := range r.get(fmt.Sprintf("/events/%d", i+1)).want(200).all("a") {
			if href := attribute(a, "href"); strings.HasPrefix(href, "/requests/") || strings.HasPrefix(href, "/events?request=") {
				path = href
			}
		}
		if p := r.get(path); p.status != 200 || !strings.Contains(p.body, fmt.Sprintf(`href="/events/%d"`, i+1)) {
			t.Errorf("%q: %s does not show its event: %d", id, path, p.status)
		}
	}
}

// Texts that are hostile stay texts on every page that shows one.
func TestHostileTexts(t *testing.T) {
	t.Parallel()
	for i, text := range hostile() {
		r := newRig(t)
		r.register(false, "book")
		d := delivery(i, text, "book")
		d.Payload = []byte(strings.Replace(string(d.Payload), `"title"`, fmt.Sprintf(`"signers":[{"name":%q,"email":%q,"status":%q}],%q:1,"title"`, text, text, text, text), 1))
		other := delivery(i, text+" other", "book")
		if !strings.Contains(text, "\x01") { // not in JSON as Go quotes it
			r.record(d, other)
		} else {
			r.record(delivery(i, "x", "book"), delivery(i, "y", "book"))
		}
		r.fail("book", text)
		r.exec(`INSERT INTO lumin.signature_requests (signature_request_id, title, reason, status) SELECT signature_request_id, $1, $1, $1 FROM lumin.events`, text)
		request := fmt.Sprintf("/requests/request-%d", i)
		for _, path := range []string{"/events", "/events/1", request, "/conflicts", r.get("/events/1").link("Decide…"), "/events?id=" + url.QueryEscape(text[:min(len(text), 100)]), "/events?kind=" + url.QueryEscape(text[:min(len(text), 100)])} {
			r.get(path).noScript().want(200)
		}
		r.post("/events/1/reveal", nil).noScript().want(200)
		r.post(request+"/reveal", nil).noScript().want(200)
	}
}

// noScript checks that no text has become an element.
func (p *page) noScript() *page {
	p.Helper()
	if scripts, images := len(p.all("script")), len(p.all("img")); scripts != 1 || images > 0 {
		p.Errorf("%s has %d scripts and %d images", p.path, scripts, images)
	}
	return p
}
