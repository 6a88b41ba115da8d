package river_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"lumin-ingest/admin/access"
	"lumin-ingest/admin/assets"
	"lumin-ingest/admin/river"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
	"lumin-ingest/store"
	"lumin-ingest/store/operate"
)

// rig is River UI behind a guard, with a failed, a retrying and a finished job of
// three runs.
type rig struct {
	*testing.T
	handler  http.Handler
	pool     pgtest.Database // with the rights of the owner
	operator *operate.Operator
	tokens   map[string]string // by role
}

func newRig(t *testing.T) *rig {
	database := pgtest.New(t)
	pgtest.UseRoles(t, database)
	pool, admin := pgtest.Pool(t, database), pgtest.Pool(t, pgtest.Login(t, database, migrations.Admin))
	st, err := store.New(admin, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, state := range []string{"discarded", "retryable", "completed"} {
		pgtest.Exec(t, pool, `
			WITH j AS (
			    INSERT INTO lumin.river_job (args, kind, max_attempts, state, attempt, finalized_at)
			    VALUES (jsonb_build_object('event_key', $1::text, 'replay_id', 0, 'of', 'canary_argument'), 'book', 5, $2::text::lumin.river_job_state, 5,
			            CASE WHEN $2 <> 'retryable' THEN now() END) RETURNING id)
			INSERT INTO lumin.runs (event_key, job_kind, event_id, job_id, state, finished_at)
			SELECT $1::text::uuid, 'book', 1, id, CASE $2 WHEN 'discarded' THEN 'failed' WHEN 'retryable' THEN 'pending' ELSE 'succeeded' END,
			       CASE WHEN $2 <> 'retryable' THEN now() END FROM j`,
			fmt.Sprintf("018a8ca2-3c4d-8e5f-a012-34567890000%d", i), state)
	}
	pgtest.Exec(t, pool, `INSERT INTO lumin.river_queue (name, updated_at) VALUES ('default', now()), ('lumin', now()), ('lumin_periodic', now())`)
	r := &rig{T: t, pool: pool, operator: operate.New(st), tokens: map[string]string{}}
	ui, err := river.New(river.Config{Pool: admin, Operator: r.operator})
	if err != nil {
		t.Fatal(err)
	}
	var tokens []access.Token
	for _, role := range []access.Role{access.Read, access.Operate} {
		secret, token := access.NewToken(role.String(), role)
		r.tokens[role.String()], tokens = secret, append(tokens, token)
	}
	guard := access.New(access.Config{Tokens: tokens})
	e := echo.New()
	e.Use(access.Headers)
	ui.Register(e.Group(river.Prefix, guard.Protect, access.Changes()))
	e.Group("", guard.Protect).GET("/", func(c echo.Context) error { return c.String(http.StatusOK, "home") })
	r.handler = e
	return r
}

// do sends a request with the token of a role, "" for none, and returns the status
// and the body.
func (r *rig) do(role, method, path, body string) (int, string, http.Header) {
	r.Helper()
	request := httptest.NewRequest(method, path, strings.NewReader(body))
	if role != "" {
		request.Header.Set("Authorization", "Bearer "+r.tokens[role])
	}
	request.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	r.handler.ServeHTTP(answer, request)
	var text bytes.Buffer
	_, _ = text.ReadFrom(answer.Result().Body)
	return answer.Code, text.String(), answer.Header()
}

func (r *rig) want(role, method, path, body string, status int, contains string) {
	r.Helper()
	got, text, _ := r.do(role, method, path, body)
	if got != status || !strings.Contains(text, contains) {
		r.Errorf("%s %s as %q is answered %d %.300s, want %d with %q", method, path, role, got, text, status, contains)
	}
}

// wantLog checks the audit log, the newest row first, and empties it.
func (r *rig) wantLog(want ...string) {
	r.Helper()
	rows, err := r.operator.List(r.Context(), operate.Filter{Limit: 10})
	if err != nil {
		r.Fatal(err)
	}
	var got []string
	for _, row := range rows {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s %s", row.Actor, row.Via, row.Action, row.Subject, row.Outcome, row.Error)))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		r.Errorf("the log is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	pgtest.Exec(r, r.pool, `DELETE FROM lumin.audit_log`)
}

func (r *rig) states() string {
	r.Helper()
	return pgtest.Value[string](r, r.pool, `SELECT string_agg(r.state || '/' || j.state, ' ' ORDER BY r.event_key) FROM lumin.runs r JOIN lumin.river_job j ON j.id = r.job_id`)
}

func TestReading(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for path, contains := range map[string]string{
		"/river/": `<div id="root"`, "/river/jobs": `<div id="root"`, "/river/jobs/1": `<div id="root"`, "/river/robots.txt": "User-Agent",
		"/river/api/jobs?state=discarded": `"kind":"book"`, "/river/api/jobs/1": `"state":"discarded"`, "/river/api/states": `"retryable"`, "/river/api/queues": `"name":"default"`,
		"/river/api/features": `"job_list_hide_args_by_default":true`,
	} {
		r.want("read", http.MethodGet, path, "", http.StatusOK, contains)
		r.want("", http.MethodGet, path, "", http.StatusUnauthorized, "not_signed_in")
	}
	r.want("read", http.MethodGet, "/river", "", http.StatusMovedPermanently, "/river/")
	_, index, header := r.do("read", http.MethodGet, "/river/", "")
	if policy := header.Get("Content-Security-Policy"); !strings.Contains(policy, "script-src 'self';") || strings.Contains(policy, "unsafe-eval") || header.Get("X-Frame-Options") != "DENY" {
		t.Errorf("headers %v", header)
	}
	if strings.Count(index, "<script") != strings.Count(index, `<script type="application/json"`)+strings.Count(index, `<script type="module" src="/`) {
		t.Errorf("the page has a script that the policy blocks: %s", index)
	}
	r.wantLog()
}

// Arguments and metadata may hold personal data. No caller sees them, but for the ids that
// the job of a run has. River UI asks again and again, so no row is written.
func TestArgumentsAreHidden(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	pgtest.Exec(t, r.pool, `UPDATE lumin.river_job SET metadata = '{"of":"canary_metadata"}'`)
	for _, role := range []string{"read", "operate"} {
		for _, path := range []string{"/river/api/jobs?state=discarded", "/river/api/jobs/1"} {
			_, text, header := r.do(role, http.MethodGet, path, "")
			if strings.Contains(text, "canary") || !strings.Contains(text, `"args":"{\"hidden\":\"it may hold personal data`) || !strings.Contains(text, `"kind":"book"`) || !json.Valid([]byte(text)) {
				t.Errorf("%s as %s: %s", path, role, text)
			}
			if header.Get("Content-Type") != "application/json; charset=utf-8" {
				t.Errorf("%s: %s", path, header)
			}
		}
	}
	const key = "018a8ca2-3c4d-8e5f-a012-345678900000"
	for args, shown := range map[string]bool{
		`{"event_key": "` + key + `", "replay_id": 12}`: true, `{"event_key": "` + key + `"}`: true, `{}`: true, `{"event_key": "canary", "replay_id": 1}`: false,
		`{"event_key": "` + key + ` canary", "replay_id": 1}`: false, `{"event_key": "` + key + `", "replay_id": "canary"}`: false,
		`{"event_key": "` + key + `", "canary": 1}`: false, `{"event_key": {"canary": 1}}`: false, `["canary"]`: false, `"canary"`: false,
	} {
		pgtest.Exec(t, r.pool, `UPDATE lumin.river_job SET args = $1, metadata = '{}' WHERE id = 1`, args)
		_, text, _ := r.do("operate", http.MethodGet, "/river/api/jobs/1", "")
		if strings.Contains(text, "hidden") == shown || strings.Contains(text, "canary") || !strings.Contains(text, `"metadata":{}`) {
			t.Errorf("%s is answered %s", args, text)
		}
	}
	r.want("read", http.MethodGet, "/river/api/jobs/99", "", http.StatusNotFound, "")
	r.wantLog()
}

// Each page leads back to the dashboard, and that of a job to its event.
func TestWayBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for path, link := range map[string]string{
		"/river/": `<a id="lumin-event" hidden href="/">`, "/river/jobs": `<a id="lumin-event" hidden href="/">`,
		"/river/jobs/12": `<a id="lumin-event" href="/jobs/12">`, "/river/jobs/x": `<a id="lumin-event" hidden href="/">`,
	} {
		r.want("read", http.MethodGet, path, "", http.StatusOK, link)
		for _, part := range []string{`<a href="/">Dashboard</a>`, `href="` + assets.Path("river.css") + `"`, `src="` + assets.Path("river.js") + `"`} {
			r.want("read", http.MethodGet, path, "", http.StatusOK, part)
		}
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, path := range []string{"/river/api/jobs/cancel", "/river/api/jobs/retry"} {
		r.want("read", http.MethodPost, path, `{"ids":["2"]}`, http.StatusForbidden, "role operate")
	}
	r.want("read", http.MethodPut, "/river/api/queues/default/pause", "", http.StatusForbidden, "role operate")
	r.want("", http.MethodPost, "/river/api/jobs/cancel", `{"ids":["2"]}`, http.StatusUnauthorized, "")
	if got, want := r.states(), "failed/discarded pending/retryable succeeded/completed"; got != want {
		t.Errorf("runs %s, want %s", got, want)
	}
	r.wantLog()

	// Our runs follow their jobs.
	r.want("operate", http.MethodPost, "/river/api/jobs/cancel", `{"ids":["2"]}`, http.StatusOK, "")
	r.want("operate", http.MethodPost, "/river/api/jobs/retry", `{"ids":["1"]}`, http.StatusOK, "")
	r.want("operate", http.MethodPost, "/river/api/jobs/retry", `{"ids":["99"]}`, http.StatusNotFound, "")
	if got, want := r.states(), "pending/available cancelled/cancelled succeeded/completed"; got != want {
		t.Errorf("runs %s, want %s", got, want)
	}
	r.want("operate", http.MethodPut, "/river/api/queues/default/pause", "", http.StatusOK, "")
	r.wantLog(
		`operate dashboard river_ui {"path": "/api/queues/default/pause", "method": "PUT"} done`,
		`operate dashboard river_ui {"path": "/api/jobs/retry", "method": "POST", "job_ids": ["99"]} failed river UI answered 404`,
		`operate dashboard river_ui {"path": "/api/jobs/retry", "method": "POST", "job_ids": ["1"]} done`,
		`operate dashboard river_ui {"path": "/api/jobs/cancel", "method": "POST", "job_ids": ["2"]} done`,
	)

	r.want("operate", http.MethodPost, "/river/api/jobs/delete", `{"ids":["1"]}`, http.StatusForbidden, "not deleted here")
	r.want("operate", http.MethodPut, "/river/api/queues/lumin/pause", "", http.StatusForbidden, "The queue lumin cannot be paused: replays")
	r.want("operate", http.MethodPut, "/river/api/queues/lumin_periodic/pause", "", http.StatusForbidden, "The queue lumin_periodic cannot be paused: retention")
	r.want("operate", http.MethodPost, "/river/api/workflows/1/cancel", "", http.StatusNotFound, "no such change")
	for _, queue := range []string{"default", "lumin"} {
		r.want("operate", http.MethodPatch, "/river/api/queues/"+queue, `{"concurrency":{"global_limit":1}}`, http.StatusNotFound, "no such change")
	}
	r.want("operate", http.MethodPut, "/river/api/queues/*/pause", "", http.StatusNotFound, "no_such_path")
	r.want("operate", http.MethodDelete, "/river/api/jobs/1", "", http.StatusNotFound, "no such change")
	r.wantLog()
	for _, queue := range []string{"lumin", "lumin_periodic"} {
		r.want("operate", http.MethodPut, "/river/api/queues/"+queue+"/resume", "", http.StatusOK, "")
	}
	r.want("operate", http.MethodPost, "/river/api/jobs/cancel", `{"ids":["`+strings.Repeat("1", 70_000)+`"]}`, http.StatusRequestEntityTooLarge, "64 KiB")
	if n := pgtest.Value[int](t, r.pool, `SELECT count(*) FROM lumin.river_job`); n != 3 {
		t.Errorf("%d jobs", n)
	}
}

// The row of a change has the jobs that it reaches, however their ids are written. A
// request whose jobs cannot be read is refused.
func TestJobsOfAChange(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, body := range []string{`{"ids":["+2"]}`, `{"ids":["002"]}`, `{"IDs":[2]}`, `{"ids":["1"],"ids":["2"]}`} {
		r.want("operate", http.MethodPost, "/river/api/jobs/cancel", body, http.StatusOK, "")
		r.wantLog(`operate dashboard river_ui {"path": "/api/jobs/cancel", "method": "POST", "job_ids": ["2"]} done`)
	}
	if got, want := r.states(), "failed/discarded cancelled/cancelled succeeded/completed"; got != want {
		t.Errorf("runs %s, want %s", got, want)
	}
	for _, body := range []string{`{"ids":["2","x"]}`, `{"ids":[" 2"]}`, `{"ids":[null]}`, `{"ids":[2.0]}`, `{"ids":["9223372036854775808"]}`, `{"ids":"2"}`, `{"ids":["2"]} {}`, ``} {
		r.want("operate", http.MethodPost, "/river/api/jobs/retry", body, http.StatusBadRequest, "invalid_jobs")
	}
	r.wantLog()
}

// Without a row in the audit log nothing changes.
func TestNoRowNoChange(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	pgtest.Exec(t, r.pool, `ALTER TABLE lumin.audit_log ADD CHECK (actor <> 'operate')`)
	r.want("operate", http.MethodPost, "/river/api/jobs/cancel", `{"ids":["2"]}`, http.StatusInternalServerError, "")
	if got, want := r.states(), "failed/discarded pending/retryable succeeded/completed"; got != want {
		t.Errorf("runs %s, want %s", got, want)
	}
}

// No spelling of a path leads around the guard, or past the refusals.
func TestPathTricks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	server := httptest.NewServer(r.handler)
	t.Cleanup(server.Close)
	for _, path := range []string{
		"/river/..", "/river/../", "/river/./", "/river//", "/river//api/jobs", "//river/api/jobs", "/river/%2e%2e/", "/river/%2e%2e/metrics", "/river/%2E/api/jobs",
		"/river/..%2f", "/river/%2fapi/jobs", "/river%2fapi/jobs", "/%72iver/api/jobs", "/river/api/%6aobs", "/river/api/jobs%2fdelete", "/river/api/jobs/..%5cdelete",
		"/river/api/jobs/delete/", "/river/api/jobs//delete", "/river/api/./jobs/delete", "/river/x/../api/jobs/delete", "/river/api/jobs/%64elete",
		"/river;x/api/jobs", "/river/api/jobs;x", "/RIVER/api/jobs", "/river/.vite/manifest.json", "/river/api/jobs/delete%00", "/river/\u00e4",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			request := httptest.NewRequest(method, server.URL+"/", strings.NewReader(`{"ids":["1"]}`))
			request.RequestURI = ""
			request.URL.Opaque = "//" + request.URL.Host + path
			request.Header.Set("Content-Type", "application/json")
			answer, err := server.Client().Transport.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				t.Errorf("%s %s without a token is answered %d", method, path, answer.StatusCode)
			}
			request = request.Clone(t.Context())
			request.Body = http.NoBody
			if method == http.MethodPost {
				request.Body = nopCloser{strings.NewReader(`{"ids":["1"]}`)}
			}
			request.Header.Set("Authorization", "Bearer "+r.tokens["operate"])
			if answer, err = server.Client().Transport.RoundTrip(request); err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if answer.StatusCode < 400 {
				t.Errorf("%s %s is answered %d", method, path, answer.StatusCode)
			}
		}
	}
	if n := pgtest.Value[int](t, r.pool, `SELECT count(*) FROM lumin.river_job`); n != 3 {
		t.Errorf("%d jobs are left", n)
	}
	r.wantLog()
}

type nopCloser struct{ *strings.Reader }

func (nopCloser) Close() error { return nil }
