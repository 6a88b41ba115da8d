package load

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"lumin-ingest/lumin"
)

const secret = "load_test_signing_secret"

// receiver verifies deliveries like the real program and collects their keys.
type receiver struct {
	mu     sync.Mutex
	keys   map[lumin.EventKey]int
	wrong  []error
	status int
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	keyring, _ := lumin.NewKeyring(secret)
	if err == nil {
		_, err = keyring.Verify(body, req.Header)
	}
	envelope, decodeErr := lumin.DecodeEnvelope(body)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, err := range []error{err, decodeErr} {
		if err != nil {
			r.wrong = append(r.wrong, err)
		}
	}
	r.keys[envelope.Key()]++
	w.WriteHeader(r.status)
	_, _ = w.Write([]byte("answer"))
}

func send(t *testing.T, status int, cfg Config) (*receiver, Report) {
	t.Helper()
	r := &receiver{keys: map[lumin.EventKey]int{}, status: status}
	server := httptest.NewServer(r)
	defer server.Close()
	cfg.URL, cfg.Secret, cfg.Base = server.URL+"/webhooks/account", secret, time.Now().UnixMilli()
	argument, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Main(t.Context(), string(argument), bytes.NewReader(nil), &out); err != nil {
		t.Fatal(err)
	}
	var report Report
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	if len(r.wrong) > 0 {
		t.Errorf("a receiver refuses deliveries: %v", r.wrong[0])
	}
	return r, report
}

func TestEveryDeliveryIsAnEvent(t *testing.T) {
	t.Parallel()
	r, report := send(t, 200, Config{Connections: 4, Count: 100, Times: true})
	if len(r.keys) != 100 || report.Sent != 100 || report.Answers[200] != 100 || report.Events != 100 || len(report.Answered) != 100 {
		t.Errorf("%d events, report %+v; want 100 of each", len(r.keys), report)
	}
	if report.P50 <= 0 || report.P50 > report.P99 || report.P99 > report.Max {
		t.Errorf("latencies %v, %v, %v", report.P50, report.P99, report.Max)
	}
}

func TestDistinctRepeatsEvents(t *testing.T) {
	t.Parallel()
	r, report := send(t, 200, Config{Connections: 2, Count: 100, Distinct: 7})
	if len(r.keys) != 7 || report.Answers[200] != 100 || report.Events != 7 {
		t.Errorf("%d events, report %+v; want 7 events and 100 answers", len(r.keys), report)
	}
}

func TestRateIsKept(t *testing.T) {
	t.Parallel()
	_, report := send(t, 200, Config{Connections: 4, Count: 50, Rate: 250})
	if report.Answers[200] != 50 || report.Seconds < 0.19 {
		t.Errorf("%d answers in %v s; want 50 in 0.2 s or more", report.Answers[200], report.Seconds)
	}
}

func TestUntilClosed(t *testing.T) {
	t.Parallel()
	_, report := send(t, 200, Config{Connections: 1, UntilClosed: true, Seconds: 30})
	if report.Seconds > 20 {
		t.Error("the load did not end with its standard input")
	}
}

func TestOtherAnswersAreNoEvents(t *testing.T) {
	t.Parallel()
	_, report := send(t, 503, Config{Connections: 1, Count: 3})
	if report.Answers[503] != 3 || report.Events != 0 {
		t.Errorf("report %+v; want three answers 503 and no event", report)
	}
}

func TestFailuresAreCounted(t *testing.T) {
	t.Parallel()
	report, err := Run(t.Context(), Config{URL: "http://127.0.0.1:1/", Connections: 1, Count: 2})
	if err != nil || report.Failed != 2 || report.FirstError == "" {
		t.Errorf("report %+v, error %v; want two failures", report, err)
	}
}
