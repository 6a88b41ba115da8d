package ingest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

func TestDocumentedDeliveries(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, path, source, key, signature string }{
		{"account", "/webhooks/account", "account", accountKey, accountSignature},
		{"app", "/webhooks/apps/demo", "app:demo", appKey, appSignature},
		{"upper-case digits", "/webhooks/account", "account", accountKey, strings.ToUpper(accountSignature)},
		{"with a query", "/webhooks/account?a=b", "account", accountKey, accountSignature},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			wantReceipt(t, r.post(test.path, documentedBody, test.signature), `{"id":17,"status":"recorded"}`)

			signature, err := hex.DecodeString(test.signature)
			if err != nil {
				t.Fatal(err)
			}
			want := store.Delivery{
				Source: test.source,
				Envelope: &lumin.Envelope{
					SignatureRequestID: "fa5c8a0b0f492d768749333ad6fcc214c111e967",
					EventType:          "signature_request_sent",
					EventTime:          documentedTime,
				},
				Payload:    []byte(documentedBody),
				Signature:  signature,
				KeyID:      lumin.KeyID(test.key),
				ReceivedAt: documentedTime.Add(time.Second),
				Jobs:       []store.JobSpec{{Kind: "book_revenue", Queue: "default", MaxAttempts: 10, Priority: 1}},
			}
			if got := r.deliveries(); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
				t.Errorf("recorded %+v, want %+v", got, want)
			}
			if want := []string{test.source + " signature_request_sent"}; !slices.Equal(r.routed, want) {
				t.Errorf("routed %q, want %q", r.routed, want)
			}
			if got := r.metric("lumin_deliveries_total", "source="+test.source, "result=recorded", "reason="); got != 1 {
				t.Errorf("counted %v", got)
			}
			if got := r.metric("lumin_delivery_seconds", "source="+test.source); got != 1 {
				t.Errorf("timed %v", got)
			}
			wantLine := map[string]any{
				"level": "INFO", "source": test.source, "status": 200., "result": "recorded", "event_id": 17.,
				"event_type": "signature_request_sent", "key_id": lumin.KeyID(test.key), "bytes": 205., "duration_ms": 0.,
				"remote_ip": "192.0.2.1",
			}
			if got := r.output.only(t); !reflect.DeepEqual(got, wantLine) {
				t.Errorf("logged %v, want %v", got, wantLine)
			}
		})
	}
}

// The receipt from Record determines the response and the metrics.
func TestReceipts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		receipt         store.Receipt
		want            string
		content, actors float64 // conflicts of either kind
	}{
		{store.Receipt{EventID: 1, Status: store.Recorded}, `{"id":1,"status":"recorded"}`, 0, 0},
		{store.Receipt{EventID: 2, Status: store.Duplicate}, `{"id":2,"status":"duplicate"}`, 0, 0},
		{store.Receipt{EventID: 3, Status: store.Duplicate, Conflict: true}, `{"id":3,"status":"duplicate"}`, 1, 0},
		{store.Receipt{EventID: 4, Status: store.Duplicate, Conflict: true, AnotherActor: true}, `{"id":4,"status":"duplicate"}`, 0, 1},
		{store.Receipt{EventID: 5, Status: store.Duplicate, Recovered: true}, `{"id":5,"status":"duplicate"}`, 0, 0},
		{store.Receipt{EventID: 6, Status: store.Late}, `{"id":6,"status":"late"}`, 0, 0},
	} {
		t.Run(fmt.Sprint(test.receipt), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.record = func(context.Context, store.Delivery) (store.Receipt, error) { return test.receipt, nil }
			wantReceipt(t, r.postAccount(documentedBody), test.want)
			if got := r.metric("lumin_deliveries_total", "source=account", "result="+string(test.receipt.Status), "reason="); got != 1 {
				t.Errorf("counted %v", got)
			}
			if got := r.output.only(t)["recovered"]; (got == true) != test.receipt.Recovered {
				t.Errorf("logged recovered: %v", got)
			}
			for kind, want := range map[string]float64{"content": test.content, "another_actor": test.actors} {
				if got := r.metric("lumin_conflicts_total", "source=account", "kind="+kind); got != want {
					t.Errorf("%v conflicts of kind %s, want %v", got, kind, want)
				}
			}
		})
	}
}

// An authentic body without an identity is stored without jobs, whatever its
// age.
func TestUnrecognized(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"empty":            "",
		"not JSON":         "hello",
		"no type, and old": `{"event":{"event_time":1},"signature_request":{"signature_request_id":"r1"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.record = func(context.Context, store.Delivery) (store.Receipt, error) {
				return store.Receipt{EventID: 9, Status: store.Unrecognized}, nil
			}
			wantReceipt(t, r.postAccount(body), `{"id":9,"status":"unrecognized"}`)
			got := r.deliveries()
			if len(got) != 1 || got[0].Envelope != nil || got[0].Jobs != nil || string(got[0].Payload) != body {
				t.Errorf("recorded %+v", got)
			}
			if r.routed != nil {
				t.Errorf("routed %q", r.routed)
			}
			line := r.output.only(t)
			if _, typed := line["event_type"]; typed || line["level"] != "INFO" {
				t.Errorf("logged %v", line)
			}
			var unrecognized *lumin.UnrecognizedError
			if _, err := lumin.DecodeEnvelope([]byte(body)); !errors.As(err, &unrecognized) || line["reason"] != unrecognized.Reason {
				t.Errorf("logged the reason %v", line["reason"])
			}
		})
	}
}

func TestRecordErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		err    error
		status int
		code   string
	}{
		{"unavailable", store.ErrUnavailable, 503, "database_unavailable"},
		{"unavailable, out of time", fmt.Errorf("%w: %w", store.ErrUnavailable, context.DeadlineExceeded), 503, "database_unavailable"},
		{"overloaded", store.ErrOverloaded, 503, "overloaded"},
		{"timeout", store.ErrTimeout, 503, "record_timeout"},
		{"timeout with its cause", fmt.Errorf("%w: %w", store.ErrTimeout, context.DeadlineExceeded), 503, "record_timeout"},
		{"a deadline without a name", context.DeadlineExceeded, 503, "record_timeout"},
		{"anything else", errors.New("boom"), 500, "internal_error"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.record = func(context.Context, store.Delivery) (store.Receipt, error) { return store.Receipt{}, test.err }
			wantProblem(t, r.postAccount(documentedBody).Result(), test.status, test.code)
			if got := r.metric("lumin_deliveries_total", "source=account", "result=unavailable", "reason="+test.code); got != 1 {
				t.Errorf("counted %v", got)
			}
			if line := r.output.only(t); line["level"] != "ERROR" || line["result"] != "unavailable" || line["code"] != test.code {
				t.Errorf("logged %v", line)
			}
		})
	}
}

// A caller that disconnects does not cancel the recording.
func TestDisconnectDoesNotCancelRecord(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	r.record = func(recording context.Context, _ store.Delivery) (store.Receipt, error) {
		cancel()
		if ctx.Err() == nil || recording.Err() != nil {
			t.Errorf("request: %v, recording: %v", ctx.Err(), recording.Err())
		}
		if _, bounded := recording.Deadline(); !bounded {
			t.Error("recording has no deadline")
		}
		return store.Receipt{EventID: 17, Status: store.Recorded}, nil
	}
	wantReceipt(t, r.do(newPost("/webhooks/account", documentedBody, accountSignature).WithContext(ctx)), `{"id":17,"status":"recorded"}`)
}

// The recording is limited to ten seconds, here in fake time.
func TestRecordTimeout(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*rig) time.Duration{
		"as built": func(*rig) time.Duration { return 10 * time.Second },
		"shorter":  func(r *rig) time.Duration { r.recordTimeout = time.Second; return time.Second },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				want := change(r)
				r.record = func(ctx context.Context, _ store.Delivery) (store.Receipt, error) {
					<-ctx.Done()
					return store.Receipt{}, fmt.Errorf("%w: %w", store.ErrTimeout, ctx.Err())
				}
				start := time.Now()
				wantProblem(t, r.postAccount(documentedBody).Result(), 503, "record_timeout")
				if got := time.Since(start); got != want {
					t.Errorf("after %v, want %v", got, want)
				}
			})
		})
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record = func(_ context.Context, d store.Delivery) (store.Receipt, error) { panic(string(d.Payload)) }
	wantProblem(t, r.postAccount(documentedBody).Result(), 500, "internal_error")
	if got := r.metric("lumin_deliveries_total", "source=account", "result=unavailable", "reason=internal_error"); got != 1 {
		t.Errorf("counted %v", got)
	}
	if line := r.output.only(t); line["level"] != "ERROR" || line["source"] != "account" {
		t.Errorf("logged %v", line)
	}
	panics := r.output.Entries(t, "panic while handling a delivery")
	if len(panics) != 1 || panics[0]["panic"] != "string" || !strings.Contains(panics[0]["stack"].(string), "TestPanic") {
		t.Errorf("logged %v", panics)
	}
	if strings.Contains(r.output.String(), "My first request") {
		t.Error("the log shows the body")
	}
	r.record = nil // and the next one is served
	wantReceipt(t, r.postAccount(documentedBody), `{"id":17,"status":"recorded"}`)
}

func TestHealth(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	response := r.do(httptest.NewRequest(http.MethodGet, "/healthz", nil))
	wantReceipt(t, response, `{"status":"ok"}`)
	if response := r.do(httptest.NewRequest(http.MethodHead, "/healthz", nil)); response.Code != http.StatusOK {
		t.Errorf("HEAD: %d", response.Code)
	}
	if r.output.String() != "" {
		t.Errorf("logged %s", r.output)
	}
}
