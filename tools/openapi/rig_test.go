package openapi

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"lumin-ingest/admin/access"
	"lumin-ingest/admin/api"
	"lumin-ingest/admin/window"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/once"
)

// eventKey is the event key of the only event.
const eventKey = "018a91db-aceb-8c28-beff-bc5dbb63a255"

// rig is an API on a database of its own, with two failed runs, a failed follow-up
// job, a conflict, a held lane and a running program.
type rig struct {
	*testing.T
	url string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	st, err := store.New(pgtest.Pool(t, pgtest.New(t)), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	fill(t, st)
	e := echo.New()
	g := e.Group(api.Prefix, func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			ctx := access.With(c.Request().Context(), access.Caller{Name: "ann", Role: access.Erase, From: "192.0.2.1"})
			c.SetRequest(c.Request().WithContext(ctx))
			return next(c)
		}
	})
	api.Register(e, g, api.Config{Window: window.New(st), Orders: once.New(st.Pool()), Logger: slog.New(slog.DiscardHandler), Sources: func() []api.SourceUse {
		return []api.SourceUse{{Source: "account", KeyIDs: []string{"0011223344556677"}}}
	}})
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	return &rig{t, server.URL}
}

func fill(t *testing.T, st *store.Store) {
	t.Helper()
	types := []catalog.JobType{{Kind: "greet", Queue: "default"}, {Kind: "book", Queue: "default", Transactional: true, WhenFailed: "hold"}}
	if _, err := catalog.AddJobTypes(t.Context(), st.Pool(), types); err != nil {
		t.Fatal(err)
	}
	recorder := store.NewRecorder(st, slog.New(slog.DiscardHandler), nil)
	defer recorder.Close()
	for _, title := range []string{"first", "second"} { // the second is a conflict
		if _, err := recorder.Record(t.Context(), delivery(title)); err != nil {
			t.Fatal(err)
		}
	}
	pgtest.Exec(t, st.Pool(), `
		UPDATE lumin.river_job SET state = 'discarded', attempt = 1, finalized_at = now(), errors = ARRAY[jsonb_build_object('error', 'no connection')]`)
	pgtest.Exec(t, st.Pool(), `INSERT INTO lumin.river_queue (name, created_at, updated_at) VALUES ('default', now(), now())`)
	pgtest.Exec(t, st.Pool(), `INSERT INTO lumin.programs (id, host, pid, role, job_kinds) VALUES (gen_random_uuid(), 'h', 1, 'all', '{greet}')`)
}

func delivery(title string) store.Delivery {
	at := time.UnixMilli(1694664207595).UTC()
	d := store.Delivery{
		Source:   "account",
		Envelope: &lumin.Envelope{SignatureRequestID: "request-1", EventType: lumin.SignatureRequestSigned, EventTime: at},
		Payload: fmt.Appendf(nil, `{"event":{"event_time":%d,"event_type":"signature_request_signed","event_metadata":{"signer_email":"ann@example.com"}},`+
			`"signature_request":{"signature_request_id":"request-1","title":%q}}`, at.UnixMilli(), title),
		Signature: make([]byte, 32), KeyID: "0011223344556677", ReceivedAt: time.Now(),
	}
	for _, kind := range []string{"greet", "book"} {
		d.Jobs = append(d.Jobs, store.JobSpec{Kind: kind, Queue: "default", MaxAttempts: 3, Priority: 1})
	}
	return d
}

// answer is an answer with its request. The body of each can be read again.
type answer struct {
	request  *http.Request
	response *http.Response
	body     []byte
}

func (r *rig) call(method, path, body string) answer {
	r.Helper()
	request, err := http.NewRequestWithContext(r.Context(), method, r.url+api.Prefix+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer token")
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		r.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.Fatal(err)
	}
	request.Body, response.Body = io.NopCloser(strings.NewReader(body)), io.NopCloser(bytes.NewReader(text))
	return answer{request, response, text}
}

// call is a request, and the status of its answer.
type call struct {
	method, path, body string
	status             int
}

// calls are requests in the order in which they make sense. Each operation of the API
// is among them.
func (r *rig) calls() (calls []call) {
	for _, path := range []string{
		"/names", "/names/job-type?job_kind=greet", "/names/errors?state=failed",
		"/events", "/events?limit=1&order=newest", "/events/1", "/events/search?state=failed", "/events/search?id=request-", "/events/1/payload",
		"/event-keys/" + eventKey + "/events", "/jobs/1/events",
		"/signature-requests/one?signature_request_id=request-1", "/status", "/history", "/failures", "/follow-ups",
		"/lanes", "/lanes/one?job_kind=book&signature_request_id=request-1", "/lanes/policies",
		"/conflicts", "/keys", "/programs", "/job-types", "/queues", "/sources", "/alerts?resolved_within_seconds=60",
	} {
		calls = append(calls, call{http.MethodGet, path, "", http.StatusOK})
	}
	conflict := strings.TrimSuffix(r.find("/conflicts", `"body":"[0-9a-f]{64}"`), `"`)
	conflict = conflict[len(conflict)-64:]
	const failed = `{"filter":{"status":"failed","job_kinds":["greet"]}`
	plan := string(r.call(http.MethodPost, "/erasures/plan", `{"email":"ann@example.com"}`).body)
	return append(calls,
		call{http.MethodGet, "/conflicts/signers?event_id=1&body=" + conflict, "", http.StatusOK},
		call{http.MethodPost, "/conflicts/signers/reveal", `{"event_id":1,"body":"` + conflict + `"}`, http.StatusOK},
		call{http.MethodPost, "/conflicts/decide", `{"event_id":1,"body":"` + conflict + `","decision":"dismiss","reason":"seen"}`, http.StatusOK},
		call{http.MethodPost, "/events/tail", `{}`, http.StatusOK},
		call{http.MethodPost, "/events/1/payload/reveal", `{"reason":"asked"}`, http.StatusOK},
		call{http.MethodPost, "/replays/plan", failed + `}`, http.StatusOK},
		call{http.MethodPost, "/replays", failed + `,"reason":"fixed"}`, http.StatusOK},
		call{http.MethodGet, "/replays", "", http.StatusOK},
		call{http.MethodGet, "/replays/1", "", http.StatusOK},
		call{http.MethodPost, "/replays/1/cancel", `{}`, http.StatusOK},
		call{http.MethodPost, "/replays/1/cancel", `{}`, http.StatusConflict},
		call{http.MethodPost, "/dismissals/plan", failed + `}`, http.StatusOK},
		call{http.MethodPost, "/dismissals", failed + `,"reason":"archived"}`, http.StatusOK},
		call{http.MethodPost, "/restorations/plan", failed + `}`, http.StatusOK},
		call{http.MethodPost, "/restorations", failed + `}`, http.StatusOK},
		call{http.MethodPost, "/runs/cancel", `{"filter":{"status":"retrying","job_kinds":["greet"]},"reason":"gone"}`, http.StatusOK},
		call{http.MethodPost, "/lanes/skip", `{"job_kind":"book","signature_request_id":"request-1","held_by":1,"reason":"test data"}`, http.StatusOK},
		call{http.MethodPost, "/queues/pause", `{"queue":"default"}`, http.StatusOK},
		call{http.MethodPost, "/queues/resume", `{"queue":"default"}`, http.StatusOK},
		call{http.MethodPost, "/follow-ups/retry", `{}`, http.StatusOK},
		call{http.MethodPost, "/erasures/plan", `{"email":"ann@example.com"}`, http.StatusOK},
		call{http.MethodPost, "/erasures", `{"plan":` + plan + `,"reason":"asked"}`, http.StatusOK},
		call{http.MethodGet, "/erasures/1", "", http.StatusOK},
		call{http.MethodPost, "/erasures/1/continue", "", http.StatusOK},
		call{http.MethodGet, "/audit-log", "", http.StatusOK},
		call{http.MethodGet, "/events/1/payload", "", http.StatusGone},
		call{http.MethodGet, "/events/99", "", http.StatusNotFound},
		call{http.MethodGet, "/events?limit=0", "", http.StatusUnprocessableEntity},
		call{http.MethodPost, "/replays", `{"filter":{}}`, http.StatusUnprocessableEntity},
	)
}

// find returns the first match in an answer.
func (r *rig) find(path, pattern string) string {
	r.Helper()
	found := regexp.MustCompile(pattern).Find(r.call(http.MethodGet, path, "").body)
	if found == nil {
		r.Fatalf("%s has no %s", path, pattern)
	}
	return string(found)
}
