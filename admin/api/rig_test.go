package api_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"lumin-ingest/admin/access"
	"lumin-ingest/admin/api"
	"lumin-ingest/admin/window"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/lumin"
	"lumin-ingest/migrations"
	"lumin-ingest/store"
	"lumin-ingest/store/once"
)

// rig is an API on a database of its own. The API has the rights of lumin_admin, and
// no others.
type rig struct {
	testing.TB
	store *store.Store // with the rights of the owner
	url   string
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	database := pgtest.New(tb)
	pgtest.UseRoles(tb, database)
	return &rig{TB: tb, store: open(tb, database), url: serve(tb, open(tb, pgtest.Login(tb, database, migrations.Admin)))}
}

func open(tb testing.TB, database string) *store.Store {
	tb.Helper()
	st, err := store.New(pgtest.Pool(tb, database), slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	return st
}

// serve serves the API of a store. The role of a caller is the token that it sends.
func serve(tb testing.TB, st *store.Store) string { return serveWithin(tb, st, 0) }

// serveWithin is like serve, with a timeout of operations.
func serveWithin(tb testing.TB, st *store.Store, timeout time.Duration) string {
	tb.Helper()
	e := echo.New()
	g := e.Group(api.Prefix, func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			r := c.Request()
			caller := access.Caller{From: "192.0.2.1"}
			name, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), "/")
			for _, role := range []access.Role{access.Read, access.Operate, access.Erase} {
				if role.String() == name {
					caller.Name, caller.Role = r.Header.Get("Authorization"), role
				}
			}
			c.SetRequest(r.WithContext(access.With(r.Context(), caller)))
			return next(c)
		}
	})
	api.Register(e, g, api.Config{Window: window.New(st), Orders: once.New(st.Pool()), Logger: slog.New(slog.DiscardHandler), Timeout: timeout, Sources: receivedSources})
	server := httptest.NewServer(e)
	tb.Cleanup(server.Close)
	return server.URL
}

// answer is an answer of the API.
type answer struct {
	status int
	header http.Header
	body   string
}

// call sends a request as a caller with a role. body may be empty.
func (r *rig) call(role, method, path, body string, headers ...string) answer {
	r.Helper()
	request, err := http.NewRequestWithContext(r.Context(), method, r.url+api.Prefix+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+role)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
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
	return answer{response.StatusCode, response.Header, string(text)}
}

// get reads an answer as a caller with the role read.
func get[T any](r *rig, path string) (value T) {
	r.Helper()
	a := r.call("read", http.MethodGet, path, "")
	if a.status != http.StatusOK {
		r.Fatalf("%s: %d %s", path, a.status, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &value); err != nil {
		r.Fatalf("%s: %v in %s", path, err, a.body)
	}
	return value
}

// delivery returns a delivery of the signature request with this number.
func delivery(n int, kinds ...string) store.Delivery {
	at := time.UnixMilli(1694664207595 + int64(n)).UTC()
	id := fmt.Sprintf("request-%d", n)
	var jobs []store.JobSpec
	for _, kind := range kinds {
		jobs = append(jobs, store.JobSpec{Kind: kind, Queue: "default", MaxAttempts: 3, Priority: 1})
	}
	return store.Delivery{
		Source:   "account",
		Envelope: &lumin.Envelope{SignatureRequestID: id, EventType: lumin.SignatureRequestSigned, EventTime: at},
		Payload: fmt.Appendf(nil, `{"event":{"event_time":%d,"event_type":"signature_request_signed"},"signature_request":`+
			`{"signature_request_id":%q,"title":"Canary Title","details_url":"https://example.com/?token=canary-token",`+
			`"signers":[{"name":"Canary Name","email_address":"canary@example.com"}]}}`, at.UnixMilli(), id),
		Signature: make([]byte, 32), KeyID: "0011223344556677", ReceivedAt: at.Add(time.Second), Jobs: jobs,
	}
}

// record records deliveries and returns the ids of their events.
func (r *rig) record(deliveries ...store.Delivery) (ids []int64) {
	r.Helper()
	recorder := store.NewRecorder(r.store, slog.New(slog.DiscardHandler), nil)
	defer recorder.Close()
	for _, d := range deliveries {
		receipt, err := recorder.Record(r.Context(), d)
		if err != nil {
			r.Fatal(err)
		}
		ids = append(ids, receipt.EventID)
	}
	return ids
}
