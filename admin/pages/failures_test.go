package pages_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"lumin-ingest/admin/pages"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store/operate"
)

// wantLog checks the newest row of the audit log: its action, reason and outcome.
func (r *rig) wantLog(want string) {
	r.Helper()
	rows, err := operate.New(r.store).List(r.Context(), operate.Filter{Limit: 1})
	if err != nil {
		r.Fatal(err)
	}
	got := ""
	for _, row := range rows {
		got = strings.Join([]string{row.Actor, row.Via, row.Action, row.Reason, row.Outcome}, " ")
	}
	if got != want {
		r.Errorf("the audit log has %q, want %q", got, want)
	}
}

// failed is a rig with three failed runs of two errors.
func failed(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.register(false, "book", "mail")
	r.record(delivery(1, "a", "book"), delivery(2, "b", "book"))
	r.fail("book", "no such account")
	r.record(delivery(3, "c", "book"))
	r.fail("book", "timeout")
	return r
}

// link returns the target of the link with this text or label.
func (p *page) link(text string) string {
	p.Helper()
	for _, a := range p.all("a") {
		if attribute(a, "aria-label") == text || a.FirstChild != nil && a.FirstChild.Data == text {
			return attribute(a, "href")
		}
	}
	p.Fatalf("%s has no link %q: %s", p.path, text, p.text())
	return ""
}

// A group is dismissed after its plan, with a reason. The filter is kept.
func TestDismissGroup(t *testing.T) {
	t.Parallel()
	r := failed(t)
	list := r.get("/failures?kind=book").want(200, "no such account", "timeout", "book")
	plan := r.get(list.link("Dismiss book: no such account")).want(200, "Dismiss failed runs of book", "Dismiss 2 runs", "leave the list of failures")
	plan.want(200, "Error, such as no such account").not("timeout")
	if r.runs("failed") != 3 {
		t.Error("a plan changed runs")
	}
	form := plan.fields("/plan")
	r.post("/plan", form).want(400, "This needs a reason")
	form.Set("reason", "test data")
	answer := r.post("/plan", form)
	if to := answer.header.Get("Location"); to != "/failures?kind=book&state=failed" {
		t.Errorf("returns to %s", to)
	}
	if cookie := answer.header.Get("Set-Cookie"); !strings.Contains(cookie, "2+runs+dismissed.") {
		t.Errorf("cookie %s", cookie)
	}
	answer.follow().want(200, "timeout").not("no such account")
	r.wantLog("ann dashboard dismiss test data done")

	dismissed := r.get("/failures?state=dismissed").want(200, "no such account", "test data", "by ann")
	form = r.get(dismissed.link("Restore book: no such account")).want(200, "Restore 2 runs", "Error, such as no such account").fields("/plan")
	r.post("/plan", form).follow().want(200, "No run is dismissed")
	r.wantLog("ann dashboard restore  done")
}

// A row of dismissed runs has the reasons of several persons, and its button restores
// the runs of the row: no more and no fewer.
func TestRestoreGroup(t *testing.T) {
	t.Parallel()
	r := failed(t)
	r.exec(`UPDATE lumin.runs SET error = 'timeout'`)
	r.exec(`SELECT lumin.dismiss_failure(event_key, job_kind, 'reason ' || event_id, CASE WHEN event_id < 3 THEN 'ann' ELSE 'bob' END) FROM lumin.failed_runs`)
	list := r.get("/failures?state=dismissed").want(200, "book 3 timeout", "reason 1 1 by ann", "reason 2 1 by ann", "reason 3 1 by bob")
	form := r.get(list.link("Restore book: timeout")).want(200, "Restore 3 runs").fields("/plan")
	r.post("/plan", form).follow().want(200, "No run is dismissed")
}

func (r *rig) runs(state string) int {
	r.Helper()
	return pgtest.Value[int](r, r.store.Pool(), `SELECT count(*)::int FROM lumin.runs WHERE state = $1`, state)
}

// A replay goes to its page, which shows its progress and can cancel it.
func TestReplayGroup(t *testing.T) {
	t.Parallel()
	r := failed(t)
	form := r.get(r.get("/failures").link("Replay book: timeout")).want(200, "Replay 1 run", "takes effect at most once").fields("/plan")
	form.Set("reason", "fixed")
	answer := r.post("/plan", form)
	if to := answer.header.Get("Location"); !strings.HasPrefix(to, "/replays/1?back=") {
		t.Fatalf("goes to %s", to)
	}
	replay := answer.follow().want(200, "Replay 1", "ordered", "fixed", "by ann", "failed runs", "No run is pending yet")
	r.wantLog("ann dashboard replay fixed done")
	r.get("/replays").want(200, "ordered", "fixed", "ann")

	plan := r.get(replay.link("Cancel…")).want(200, "Cancel replay 1", "No further run becomes pending")
	r.post("/replays/1/cancel", plan.fields("/replays/1/cancel")).follow().want(200, "cancelled")
	r.wantLog("ann dashboard cancel_replay  done")
	r.get("/replays/1/cancel").want(200, "The replay has ended: it is cancelled.")
	r.get("/replays/2").want(404)
	r.get("/replays/x").want(404)
}

// Orders that no page of ours makes are refused. A rate is checked.
func TestInvalidOrders(t *testing.T) {
	t.Parallel()
	r := failed(t)
	for _, query := range []string{"", "do=drop&status=failed", "do=replay", "do=dismiss&status=succeeded&kind=book", "do=cancel&status=failed",
		"do=replay&event=x", "do=replay&status=failed&since=yesterday", "do=restore", "do=restore&status=late&event=1", "do=restore&status=nonsense&event=1", "do=replay&status=missing", "do=replay&status=nonsense&kind=book"} {
		r.get("/plan?"+query).want(400, "This address is invalid")
		form, _ := url.ParseQuery(query)
		form.Set("reason", "x")
		r.post("/plan", form).want(400)
	}
	for _, rate := range []string{"-1", "0", "1.5", "2147483648"} {
		r.post("/plan", url.Values{"do": {"replay"}, "status": {"failed"}, "rate": {rate}}).want(400, "rate")
	}
	if pgtest.Value[int](t, r.store.Pool(), `SELECT count(*)::int FROM lumin.audit_log`) != 0 {
		t.Error("a refused order is in the audit log")
	}
}

// A form that cannot be read in full is refused: without a part of its filter, it
// would reach more runs than its plan showed.
func TestPartOfForm(t *testing.T) {
	t.Parallel()
	r := failed(t)
	send := func(contentType, body string) {
		t.Helper()
		request := httptest.NewRequest(http.MethodPost, "/plan", strings.NewReader(body))
		request.Header.Set("Content-Type", contentType)
		r.send(request).want(400)
	}
	const form, dismiss = "application/x-www-form-urlencoded", "do=dismiss&status=failed&kind=book&reason=x"
	send(form, dismiss+"&error=%zz")
	send(form, dismiss+"&error=a;b")
	send(form, dismiss+"&x="+strings.Repeat("x", 1<<20))
	send("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"do\"\r\n\r\ndismiss\r\n--x--\r\n")
	r.get("/plan?do=dismiss&status=failed&kind=book&error=%zz").want(400, "cannot be read")
	if n := r.runs("failed"); n != 3 {
		t.Errorf("%d failed runs are left", n)
	}
}

// No route that is not for reading answers a reader.
func TestEveryFormNeedsARole(t *testing.T) {
	t.Parallel()
	r := failed(t)
	r.caller = pages.Caller{Name: "bob"}
	forms := 0
	for _, route := range r.echo.Routes() {
		if route.Method == http.MethodGet || route.Method == http.MethodHead || route.Method == echo.RouteNotFound {
			continue
		}
		forms++
		path := strings.NewReplacer("/requests/:id", "/requests/request-1", ":id", "1", ":name", "default", ":body", "x").Replace(route.Path)
		r.send(httptest.NewRequest(route.Method, path, nil)).want(403, "needs the role operate").not("ann@example.com", "secret-token")
	}
	if forms < 8 {
		t.Errorf("%d forms were tried", forms)
	}
	if n := pgtest.Value[int](t, r.store.Pool(), `SELECT count(*)::int FROM lumin.audit_log`); n != 0 {
		t.Errorf("%d rows in the audit log", n)
	}
}

// The log of a page that failed has no personal data.
func TestLogOfFailure(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`CREATE FUNCTION lumin.boom() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'invalid row of ada@example.com'; END $$`)
	r.exec(`ALTER TABLE lumin.audit_log RENAME TO audit_rows`)
	r.exec(`INSERT INTO lumin.audit_rows (actor, via, action) VALUES ('ann', 'api', 'test')`)
	r.exec(`CREATE VIEW lumin.audit_log AS SELECT * FROM lumin.audit_rows WHERE lumin.boom()`)
	r.exec(`GRANT SELECT ON lumin.audit_log TO lumin_admin`)
	var log strings.Builder
	cfg := r.config()
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	r.echo = echo.New()
	pages.New(cfg).Register(r.echo.Group(""))
	r.get("/audit").want(500).not("ada")
	if !strings.Contains(log.String(), "invalid row of [address]") || strings.Contains(log.String(), "ada") {
		t.Errorf("log %s", log.String())
	}
}

// Retrying runs can be cancelled.
func TestCancelRetrying(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.register(false, "book")
	r.record(delivery(1, "a", "book"))
	r.exec(`UPDATE lumin.river_job SET state = 'retryable', attempt = 1, attempted_at = now(), scheduled_at = now() + interval '1 hour'`)
	r.exec(`UPDATE lumin.runs SET error = 'try again', attempts = 1`)
	list := r.get("/failures?state=retrying").want(200, "try again", "in 59 min")
	form := r.get(list.link("Cancel book: try again")).want(200, "Cancel 1 run").fields("/plan")
	form.Set("reason", "obsolete")
	r.post("/plan", form).follow().want(200, "No run is retrying")
	r.wantLog("ann dashboard cancel_runs obsolete done")
	if r.runs("cancelled") != 1 {
		t.Error("no run is cancelled")
	}
	r.get(r.get("/failures?state=retrying&kind=book").link("Cancelled")).want(200, "Events that match", "request-1", "cancelled book")
}

// A reader sees everything, without the buttons, and may not send the forms.
func TestReaders(t *testing.T) {
	t.Parallel()
	r := failed(t)
	r.caller = pages.Caller{Name: "bob"}
	r.get("/failures").want(200, "no such account").not("Replay…", "Dismiss…")
	p := r.get("/plan?do=replay&status=failed").want(200, "Only a caller with the role operate can do this")
	for _, form := range p.all("form") {
		if attribute(form, "action") == "/plan" {
			t.Error("the plan of a reader has a form")
		}
	}
	for _, path := range []string{"/plan", "/replays/1/cancel", "/lanes/skip", "/queues/default"} {
		r.post(path, url.Values{"do": {"replay"}, "status": {"failed"}, "reason": {"x"}}).want(403, "needs the role operate")
	}
	if n := pgtest.Value[int](t, r.store.Pool(), `SELECT count(*)::int FROM lumin.audit_log`); n != 0 {
		t.Errorf("%d rows in the audit log", n)
	}
}

// The result of an action is shown once.
func TestDoneIsShownOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	request := httptest.NewRequest(http.MethodGet, "/lanes", nil)
	request.Header.Set("Cookie", "lumin_done=2+runs+%3Cb%3E")
	p := r.send(request).want(200, "2 runs <b>")
	if cookie := p.header.Get("Set-Cookie"); !strings.Contains(cookie, "lumin_done=; Path=/; Max-Age=0") {
		t.Errorf("the cookie stays: %s", cookie)
	}
}

// hostile texts stay text, in each list and plan.
func TestHostileErrors(t *testing.T) {
	t.Parallel()
	for i, text := range hostile() {
		r := newRig(t)
		r.register(false, "book")
		r.record(delivery(i, text, "book"))
		r.fail("book", text)
		list := r.get("/failures").want(200, "book")
		r.get("/").want(200, "1 run has failed for good")
		for _, a := range list.all("a") {
			if strings.HasPrefix(attribute(a, "href"), "/plan?") {
				r.get(attribute(a, "href")).want(200)
			}
		}
	}
}
