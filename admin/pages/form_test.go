package pages_test

import (
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"testing"
)

// counts are the replays, the rows of the audit log and the failed runs.
func (r *rig) counts() string {
	r.Helper()
	return r.value(`SELECT format('%s replays, %s rows, %s failed', (SELECT count(*) FROM lumin.replays), (SELECT count(*) FROM lumin.audit_log), (SELECT count(*) FROM lumin.runs WHERE state = 'failed'))`)
}

func (r *rig) wantCounts(replays, rows, failed int) {
	r.Helper()
	if got, want := r.counts(), strconv.Itoa(replays)+" replays, "+strconv.Itoa(rows)+" rows, "+strconv.Itoa(failed)+" failed"; got != want {
		r.Errorf("%s, want %s", got, want)
	}
}

// succeeded is a rig with a run that has taken effect, and the form that replays it.
func succeeded(t *testing.T) (*rig, url.Values) {
	t.Helper()
	r := newRig(t)
	r.register(false, "book")
	r.record(delivery(1, "a", "book"))
	r.exec(`UPDATE lumin.runs SET state = 'succeeded', finished_at = now()`)
	return r, r.get(plan).want(200, "Replay 1 run", "Each takes effect once more").fields("/plan")
}

const plan = "/plan?do=replay&status=succeeded&kind=book&event=1"

// A page orders one replay, however often its form is sent, and with whatever reason.
func TestFormOrdersOneReplay(t *testing.T) {
	t.Parallel()
	r, form := succeeded(t)
	form.Set("reason", "the first reason")
	var all sync.WaitGroup
	answers := make(chan *page, 6)
	for range 6 {
		all.Go(func() { answers <- r.post("/plan", form) })
	}
	all.Wait()
	close(answers)
	for answer := range answers {
		if to := answer.header.Get("Location"); answer.status != http.StatusSeeOther || to != "/replays/1" {
			t.Errorf("answered %d, to %s", answer.status, to)
		}
	}
	r.wantCounts(1, 1, 0)
	form.Set("reason", "another reason")
	again := r.post("/plan", form)
	if done := again.done(); done != "This form was sent before, and counts once, with the reason that it had then. Nothing more was done now. The first time: The replay is ordered. A running worker carries it out." {
		t.Errorf("shows %q", done)
	}
	again.follow().want(200, "Replay 1", "the first reason").not("another reason")
	r.wantCounts(1, 1, 0)

	if to := r.post("/plan", r.get(plan).fields("/plan")).header.Get("Location"); to != "/replays/2" {
		t.Errorf("a new page leads to %s", to)
	}
	form.Del("token") // as a program sends it
	r.post("/plan", form).follow().want(200, "Replay 3")
	r.post("/plan", form).follow().want(200, "Replay 4")
	form.Set("token", string(make([]byte, 101)))
	r.post("/plan", form).want(400, "token")
}

// done is what the next page shows of an action.
func (p *page) done() string {
	p.Helper()
	for _, cookie := range (&http.Response{Header: p.header}).Cookies() {
		if text, err := url.QueryUnescape(cookie.Value); err == nil && cookie.Name == "lumin_done" {
			return text
		}
	}
	p.Fatalf("%s has shown nothing: %d", p.path, p.status)
	return ""
}

// If an answer is lost after the commit, the page does not ask to repeat the order, and
// the same form leads to the replay.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	r, form := succeeded(t)
	r.exec(`CREATE FUNCTION lumin.lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'the answer is lost'; END $$`)
	r.exec(`CREATE TRIGGER lose BEFORE INSERT ON lumin.replays FOR EACH ROW EXECUTE FUNCTION lumin.lose()`)
	p := r.post("/plan", form).want(500, "It is not known whether the change was made", "may have been carried out", "before you order it again").not("Reload", "The page failed")
	if to := p.link("Show the replays"); to != "/replays" {
		t.Errorf("leads to %s", to)
	}
	r.wantCounts(0, 1, 0)
	r.exec(`DROP TRIGGER lose ON lumin.replays`)
	r.post("/plan", form).follow().want(200, "Replay 2") // nothing was committed, so the form is carried out now
	r.wantCounts(1, 2, 0)
	r.exec(`UPDATE lumin.api_orders SET answer = NULL, claimed_until = now()`) // as if this answer were lost
	again := r.post("/plan", form)
	if done := again.done(); done != "This form was sent before, and had ordered this replay, with the reason that it had then. Nothing more was ordered now." {
		t.Errorf("shows %q", done)
	}
	again.follow().want(200, "Replay 2")
	r.wantCounts(1, 2, 0)
}

// A change without an outcome in the audit log was made. The page says so, and the form
// is not carried out again.
func TestChangeWithoutOutcome(t *testing.T) {
	t.Parallel()
	r := failed(t)
	form := r.get("/plan?do=dismiss&status=failed&kind=book&event=1").fields("/plan")
	form.Set("reason", "test data")
	r.exec(`ALTER TABLE lumin.audit_log ADD CONSTRAINT no_outcome CHECK (outcome IS NULL)`)
	answer := r.post("/plan", form)
	if done := answer.done(); done != "It was carried out. Its row in the audit log lacks the outcome: the database failed after the change." {
		t.Errorf("shows %q", done)
	}
	r.wantCounts(0, 1, 2)
	r.exec(`SELECT lumin.restore_failure(event_key, job_kind) FROM lumin.dismissed_runs`)
	r.post("/plan", form).follow().want(200)
	r.wantCounts(0, 1, 3)
}

// Without a row in the audit log nothing changes, and the page says so.
func TestNothingChanged(t *testing.T) {
	t.Parallel()
	r := failed(t)
	form := r.get("/plan?do=replay&status=failed").fields("/plan")
	r.exec(`ALTER TABLE lumin.audit_log ADD CONSTRAINT not_ann CHECK (actor <> 'ann')`)
	r.post("/plan", form).want(500, "Nothing was changed").not("may have been")
	r.exec(`ALTER TABLE lumin.audit_log DROP CONSTRAINT not_ann`)
	r.exec(`ALTER TABLE lumin.api_orders RENAME TO other`)
	r.post("/plan", form).want(500, "Nothing was changed").not("may have been")
	r.exec(`ALTER TABLE lumin.other RENAME TO api_orders`)
	r.post("/plan", form).follow().want(200, "Replay 1")
}

// A form that was carried out does nothing when it is sent again, even if the same runs
// or jobs match once more.
func TestFormIsCarriedOutOnce(t *testing.T) {
	t.Parallel()
	r := failed(t)
	r.failedFollowUps("send_copy", 1)
	r.exec(`INSERT INTO lumin.river_queue (name, updated_at) VALUES ('default', now())`)
	const state = `SELECT string_agg(state, ' ' ORDER BY event_id) FROM lumin.runs`
	for _, c := range []struct{ plan, action, reason, undo, state, want string }{
		{"/plan?do=dismiss&status=failed&kind=book&event=1", "/plan", "test data", `SELECT lumin.restore_failure(event_key, job_kind) FROM lumin.dismissed_runs`, state, "failed failed failed"},
		{"/plan?do=restore&kind=book&event=2", "/plan", "", `SELECT lumin.dismiss_failure(event_key, job_kind, 'again') FROM lumin.runs WHERE event_id = 2`, state, "failed dismissed failed"},
		{
			"/follow-ups/retry?kind=send_copy", "/follow-ups/retry", "", `UPDATE lumin.river_job SET state = 'discarded', attempt = 3, finalized_at = now() WHERE kind = 'send_copy'`,
			`SELECT state::text FROM lumin.river_job WHERE kind = 'send_copy'`, "discarded",
		},
		{"/queues/default", "/queues/default", "maintenance", `UPDATE lumin.river_queue SET paused_at = NULL`, `SELECT coalesce(paused_at::text, 'runs') FROM lumin.river_queue`, "runs"},
	} {
		if c.action == "/plan" && c.reason == "" {
			r.exec(c.undo)
		}
		form := r.get(c.plan).want(200).fields(c.action)
		form.Set("reason", c.reason)
		r.post(c.action, form).follow().want(200)
		r.exec(c.undo)
		rows := r.counts()
		again := r.post(c.action, form)
		if got := r.value(c.state); got != c.want || r.counts() != rows {
			t.Errorf("%s, sent again: %s, want %s; %s, want %s", c.plan, got, c.want, r.counts(), rows)
		}
		again.follow().want(200)
		r.post("/replays/1/cancel", url.Values{"token": form["token"]}).want(400, "of another form")
	}
}
