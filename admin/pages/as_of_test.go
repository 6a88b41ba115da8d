package pages_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
)

// later makes one more run of book fail, with an error that others have.
func (r *rig) later(n int) {
	r.Helper()
	r.record(delivery(n, "later", "book"))
	r.fail("book", "no such account")
}

// did checks what the answer to a form says that was done.
func (p *page) did(want string) {
	p.Helper()
	if cookie := p.header.Get("Set-Cookie"); p.status != http.StatusSeeOther || !strings.Contains(cookie, url.QueryEscape(want)) {
		p.Errorf("%s: status %d, %s, want %q", p.path, p.status, cookie, want)
	}
}

// An action covers what its plan has shown: runs that fail while the reason is typed
// stay failed. A form without the time of a plan covers what is there.
func TestActionsLeaveLaterRuns(t *testing.T) {
	t.Parallel()
	r := failed(t)
	dismissal := func(texts ...string) url.Values {
		t.Helper()
		form := r.get(r.get("/failures").link("Dismiss book: no such account")).want(200, texts...).fields("/plan")
		form.Set("reason", "test data")
		return form
	}
	form := dismissal("Dismiss 2 runs", "Runs that end and events that arrive after this plan are left alone.", "As of")
	r.later(4)
	r.post("/plan", form).did("2 runs dismissed.")
	if n := r.runs("failed"); n != 2 {
		t.Errorf("%d runs are failed, want 2", n)
	}

	restore := r.get(r.get("/failures?state=dismissed").link("Restore book: no such account")).want(200, "Restore 2 runs").fields("/plan")
	form = dismissal("Dismiss 1 run")
	form.Del("as_of")
	r.post("/plan", form).did("1 run dismissed.")
	r.post("/plan", restore).did("2 runs restored.")
	if n := r.runs("dismissed"); n != 1 {
		t.Errorf("%d runs are dismissed, want 1", n)
	}

	replay := r.get(r.get("/failures").link("Replay book: no such account")).want(200, "Replay 2 runs").fields("/plan")
	r.later(5)
	r.post("/plan", replay).follow().want(200, "As of")
	if !pgtest.Value[bool](t, r.store.Pool(), `SELECT as_of = $1::timestamptz AND as_of < created_at FROM lumin.replays`, replay.Get("as_of")) {
		t.Error("the order has another time than its plan")
	}
}

func TestCancelLeavesLaterRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.register(false, "book")
	r.record(delivery(1, "a", "book"), delivery(2, "b", "book"))
	retrying := func(id int) {
		t.Helper()
		r.exec(`UPDATE lumin.river_job SET state = 'retryable', attempt = 1, attempted_at = now(), scheduled_at = now() + interval '1 hour' WHERE id = $1`, id)
	}
	retrying(1)
	form := r.get("/plan?do=cancel&status=retrying").want(200, "Cancel 1 run").fields("/plan")
	form.Set("reason", "obsolete")
	retrying(2)
	r.post("/plan", form).did("1 run cancelled.")
	if n := r.runs("pending"); n != 1 {
		t.Errorf("%d runs are pending, want 1", n)
	}
}

// A plan that is counted once more, such as exactly, keeps its time.
func TestPlanKeepsItsTime(t *testing.T) {
	t.Parallel()
	r := failed(t)
	const path = "/plan?do=dismiss&status=failed"
	asOf := r.get(path).want(200, "Dismiss 3 runs").fields("/plan").Get("as_of")
	r.later(4)
	again := path + "&exactly=1&as_of=" + url.QueryEscape(asOf)
	if got := r.get(again).want(200, "Dismiss 3 runs").fields("/plan").Get("as_of"); got != asOf {
		t.Errorf("as of %s, want %s", got, asOf)
	}
	future := time.Now().Add(time.Hour)
	form := r.get(fmt.Sprintf("%s&as_of=%s", path, url.QueryEscape(future.Format(time.RFC3339)))).want(200, "Dismiss 4 runs").fields("/plan")
	if at, err := time.Parse(time.RFC3339Nano, form.Get("as_of")); err != nil || !at.Before(future) {
		t.Errorf("as of %v, %v", at, err)
	}
	r.get(path+"&as_of=soon").want(http.StatusBadRequest, "A time has the form")
}
