package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"lumin-ingest/internal/testlog"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

func TestMain(m *testing.M) {
	// net/http waits half a second before it closes a connection in
	// mid-request.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// This is Lumin's documented example, signed with its two documented keys.
const (
	documentedBody = `{"event": { "event_time": 1694664207595, "event_type": "signature_request_sent" }, "signature_request": { "signature_request_id": "fa5c8a0b0f492d768749333ad6fcc214c111e967", "title": "My first request" } }`

	accountKey       = "my_primary_api_key"
	accountSignature = "3810cb411041efab279d31698b9584372e5ede9d1641fbb354810f16e51be81c"
	appKey           = "your_app_signing_secret"
	appSignature     = "f8b6871e7874b32476a5eb838e0982886f62a9da11e840909a226dea9cf0c92b"

	rotatedKey = "my_rotated_api_key"
)

var documentedTime = time.UnixMilli(1694664207595).UTC()

// rig is a Handler whose calls, log and metrics are recorded.
type rig struct {
	*Handler
	t        *testing.T
	registry *prometheus.Registry
	output   *lines

	mu       sync.Mutex
	clock    time.Time
	recorded []store.Delivery
	routed   []string
	record   func(context.Context, store.Delivery) (store.Receipt, error) // nil: event 17, recorded
}

// newRig returns a rig whose clock is one second after the documented event.
func newRig(t *testing.T, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, registry: prometheus.NewRegistry(), output: &lines{}, clock: documentedTime.Add(time.Second)}
	cfg := Config{
		Sources:     map[string]*lumin.Keyring{"account": newKeyring(t, accountKey), "app:demo": newKeyring(t, appKey)},
		MaxEventAge: 48 * time.Hour,
		Logger:      slog.New(slog.NewJSONHandler(r.output, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Registerer:  r.registry,
		Now: func() time.Time {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.clock
		},
		Route: func(source string, eventType lumin.EventType) []store.JobSpec {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.routed = append(r.routed, source+" "+string(eventType))
			return []store.JobSpec{{Kind: "book_revenue", Queue: "default", MaxAttempts: 10, Priority: 1}}
		},
		Record: func(ctx context.Context, d store.Delivery) (store.Receipt, error) {
			r.mu.Lock()
			r.recorded = append(r.recorded, d)
			record := r.record
			r.mu.Unlock()
			if record == nil {
				return store.Receipt{EventID: 17, Status: store.Recorded}, nil
			}
			return record(ctx, d)
		},
	}
	for _, change := range change {
		change(&cfg)
	}
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Handler = h
	return r
}

func newKeyring(t testing.TB, secrets ...string) *lumin.Keyring {
	t.Helper()
	keyring, err := lumin.NewKeyring(secrets...)
	if err != nil {
		t.Fatal(err)
	}
	return keyring
}

func (r *rig) setClock(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock = now
}

func (r *rig) deliveries() []store.Delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.recorded)
}

func (r *rig) do(request *http.Request) *httptest.ResponseRecorder {
	response := httptest.NewRecorder()
	r.ServeHTTP(response, request)
	return response
}

// post delivers body to path, signed as given: no header for "".
func (r *rig) post(path, body, signature string) *httptest.ResponseRecorder {
	return r.do(newPost(path, body, signature))
}

func newPost(path, body, signature string) *http.Request {
	request := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "Lumin Sign API")
	if signature != "" {
		request.Header.Set(lumin.SignatureHeader, signature)
	}
	return request
}

// postAccount delivers body to the account webhook, signed correctly.
func (r *rig) postAccount(body string) *httptest.ResponseRecorder {
	return r.post("/webhooks/account", body, lumin.Sign([]byte(body), accountKey))
}

// bodyAt returns the body of an event at the given time.
func bodyAt(at time.Time) string {
	return fmt.Sprintf(`{"event":{"event_time":%d,"event_type":"signature_request_signed"},"signature_request":{"signature_request_id":"r1"}}`, at.UnixMilli())
}

// bodyOfSize returns a valid body of the documented event with size bytes.
func bodyOfSize(size int) string {
	const start = `{"event":{"event_time":1694664207595,"event_type":"signature_request_signed"},"signature_request":{"signature_request_id":"r1"},"x":"`
	return start + strings.Repeat("x", size-len(start)-2) + `"}`
}

// wantReceipt checks a response with status 200 byte by byte.
func wantReceipt(t *testing.T, response *httptest.ResponseRecorder, want string) {
	t.Helper()
	if response.Code != http.StatusOK || strings.TrimSuffix(response.Body.String(), "\n") != want {
		t.Errorf("answered %d %s, want 200 %s", response.Code, response.Body, want)
	}
	if got := response.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
}

// wantProblem checks a refusal with all members of its body.
func wantProblem(t *testing.T, response *http.Response, status int, code string) {
	t.Helper()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != status {
		t.Errorf("status %d, want %d: %s", response.StatusCode, status, body)
	}
	if got := response.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q", got)
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	var p problemBody
	if err := decoder.Decode(&p); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if p.Type != "about:blank" || p.Title != http.StatusText(status) || p.Status != status || p.Code != code || len(p.Detail) < 20 {
		t.Errorf("problem %+v, want status %d and code %s", p, status, code)
	}
	if got := response.Header.Get("Retry-After"); (got == "5") != (status == http.StatusServiceUnavailable) {
		t.Errorf("Retry-After %q with status %d", got, status)
	}
}

// metric returns the value of one metric, or the count of a histogram; -1 when
// there is no such series. Labels are written "name=value".
func (r *rig) metric(name string, labels ...string) float64 {
	r.t.Helper()
	for _, m := range r.series(name) {
		var have []string
		for _, pair := range m.GetLabel() {
			have = append(have, pair.GetName()+"="+pair.GetValue())
		}
		slices.Sort(have)
		slices.Sort(labels)
		if slices.Equal(have, labels) {
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return -1
}

func (r *rig) series(name string) []*dto.Metric {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()
		}
	}
	return nil
}

// lines collects the log.
type lines struct{ testlog.Buffer }

// only returns the only delivery line, without its time and message.
func (l *lines) only(t *testing.T) map[string]any {
	t.Helper()
	found := l.Entries(t, "delivery")
	if len(found) != 1 {
		t.Fatalf("%d lines about deliveries, want 1: %s", len(found), l)
	}
	entry := maps.Clone(found[0])
	delete(entry, "time")
	delete(entry, "msg")
	return entry
}

func decode(t *testing.T, from io.Reader, into any) {
	t.Helper()
	if err := json.NewDecoder(from).Decode(into); err != nil {
		t.Fatal(err)
	}
}
