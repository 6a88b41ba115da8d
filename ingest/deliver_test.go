package ingest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
	} {
		t.Run(fmt.Sprint(test.receipt), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.record = func(context.Context, store.Delivery) (store.Receipt, error) { return test.receipt, nil }
			wantReceipt(t, r.postAccount(documentedBody), test.want)
			if got := r.metric("lumin_deliveries_total", "source=account", "result="+string(test.receipt.Status), "reason="); got != 1 {
				t.Errorf("counted %v", got)
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

func TestRefusals(t *testing.T) {
	t.Parallel()
	altered := strings.Replace(documentedBody, "first", "First", 1)
	with := func(name string, values ...string) func(*http.Request) {
		return func(request *http.Request) { request.Header[http.CanonicalHeaderKey(name)] = values }
	}
	method := func(method string) func(*http.Request) {
		return func(request *http.Request) { request.Method = method }
	}
	path := func(path string) func(*http.Request) {
		return func(request *http.Request) { request.URL.Path = path }
	}
	body := func(body string) func(*http.Request) {
		return func(request *http.Request) {
			request.Body, request.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		}
	}
	for _, test := range []struct {
		name   string
		change func(*http.Request) // of a correct delivery to the account webhook
		status int
		code   string
		source string
	}{
		{"no signature", func(r *http.Request) { r.Header.Del("X-Signature") }, 401, "signature_missing", "account"},
		{"two signatures", with("X-Signature", accountSignature, accountSignature), 401, "signature_malformed", "account"},
		{"63 digits", with("X-Signature", accountSignature[:63]), 401, "signature_malformed", "account"},
		{"64 characters, not digits", with("X-Signature", strings.Repeat("g", 64)), 401, "signature_malformed", "account"},
		{"an empty signature", with("X-Signature", ""), 401, "signature_malformed", "account"},
		{"another key's signature", with("X-Signature", appSignature), 401, "signature_mismatch", "account"},
		{"an altered byte", body(altered), 401, "signature_mismatch", "account"},
		{"a trailing newline", body(documentedBody + "\n"), 401, "signature_mismatch", "account"},
		{"no body", body(""), 401, "signature_mismatch", "account"},
		{"the account's signature at an app", path("/webhooks/apps/demo"), 401, "signature_mismatch", "app:demo"},

		{"an unknown app", path("/webhooks/apps/other"), 404, "unknown_source", "unknown"},
		{"an app in another case", path("/webhooks/apps/Demo"), 404, "unknown_source", "unknown"},
		{"an app with a slash", path("/webhooks/apps/demo/x"), 404, "unknown_source", "unknown"},
		{"no app", path("/webhooks/apps/"), 404, "not_found", "unknown"},
		{"apps", path("/webhooks/apps"), 404, "not_found", "unknown"},
		{"the root", path("/"), 404, "not_found", "unknown"},
		{"two slashes behind", path("/webhooks/account//"), 404, "not_found", "unknown"},
		{"an unknown app with a slash behind", path("/webhooks/apps/other/"), 404, "unknown_source", "unknown"},
		{"account in another case", path("/webhooks/Account"), 404, "not_found", "unknown"},
		{"metrics", path("/metrics"), 404, "not_found", "unknown"},

		{"GET", method("GET"), 405, "method_not_allowed", "unknown"},
		{"HEAD", method("HEAD"), 405, "method_not_allowed", "unknown"},
		{"OPTIONS", method("OPTIONS"), 405, "method_not_allowed", "unknown"},
		{"PUT", method("PUT"), 405, "method_not_allowed", "unknown"},
		{"an unknown method", method("SIGN"), 405, "method_not_allowed", "unknown"},
		{"GET with a slash behind", func(r *http.Request) { r.Method, r.URL.Path = "GET", "/webhooks/account/" }, 405, "method_not_allowed", "unknown"},
		{"GET at an app", func(r *http.Request) { r.Method, r.URL.Path = "GET", "/webhooks/apps/demo" }, 405, "method_not_allowed", "unknown"},
		{"GET at an unknown app", func(r *http.Request) { r.Method, r.URL.Path = "GET", "/webhooks/apps/other" }, 405, "method_not_allowed", "unknown"},
		{"POST to healthz", path("/healthz"), 405, "method_not_allowed", "unknown"},

		{"gzip", with("Content-Encoding", "gzip"), 415, "unsupported_content_encoding", "account"},
		{"identity and gzip", with("Content-Encoding", "identity, gzip"), 415, "unsupported_content_encoding", "account"},
		{"identity, and gzip on another line", with("Content-Encoding", "identity", "gzip"), 415, "unsupported_content_encoding", "account"},

		{"a byte too much", body(bodyOfSize(1<<20 + 1)), 413, "body_too_large", "account"},
		{"far too much announced", func(r *http.Request) { r.ContentLength = 1 << 40 }, 413, "body_too_large", "account"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			request := newPost("/webhooks/account", documentedBody, accountSignature)
			test.change(request)
			response := r.do(request).Result()
			wantProblem(t, response, test.status, test.code)

			if test.status == http.StatusMethodNotAllowed {
				want := "POST"
				if request.URL.Path == "/healthz" {
					want = "GET, HEAD"
				}
				if got := response.Header.Values("Allow"); !slices.Equal(got, []string{want}) {
					t.Errorf("Allow %q, want %q", got, want)
				}
			}
			if r.deliveries() != nil || r.routed != nil {
				t.Errorf("recorded %v, routed %q", r.deliveries(), r.routed)
			}
			if got := r.metric("lumin_deliveries_total", "source="+test.source, "result=refused", "reason="+test.code); got != 1 {
				t.Errorf("counted %v", got)
			}
			if got := r.metric("lumin_delivery_seconds", "source=account") + r.metric("lumin_delivery_seconds", "source=app:demo"); got != 0 {
				t.Errorf("timed %v deliveries that were not verified", got)
			}
			line := r.output.only(t)
			if line["level"] != "WARN" || line["source"] != test.source || line["status"] != float64(test.status) ||
				line["result"] != "refused" || line["code"] != test.code {
				t.Errorf("logged %v", line)
			}
			for _, absent := range []string{"event_id", "event_type", "key_id", "reason"} {
				if _, there := line[absent]; there {
					t.Errorf("logged %s of what was not verified: %v", absent, line)
				}
			}
		})
	}
	t.Run("account not configured", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, func(cfg *Config) { delete(cfg.Sources, "account") })
		wantProblem(t, r.postAccount(documentedBody).Result(), 404, "unknown_source")
	})
}

// Equivalent spellings from proxies and people are accepted.
func TestAcceptedVariants(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, path, signature string
		encoding              []string
	}{
		{"a slash behind the account", "/webhooks/account/", accountSignature, nil},
		{"a slash behind an app", "/webhooks/apps/demo/", appSignature, nil},
		{"identity", "/webhooks/account", accountSignature, []string{"identity"}},
		{"identity in capitals", "/webhooks/account", accountSignature, []string{"Identity"}},
		{"an empty encoding", "/webhooks/account", accountSignature, []string{""}},
		{"several that change nothing", "/webhooks/account", accountSignature, []string{"identity, identity", " "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			request := newPost(test.path, documentedBody, test.signature)
			if test.encoding != nil {
				request.Header["Content-Encoding"] = test.encoding
			}
			wantReceipt(t, r.do(request), `{"id":17,"status":"recorded"}`)
		})
	}
}

// The first problem decides the response.
func TestOrderOfRefusals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*http.Request)
		code   string
	}{
		{"the method before everything", func(r *http.Request) { r.Method = "PUT" }, "method_not_allowed"},
		{"the source before the encoding", func(r *http.Request) { r.URL.Path = "/webhooks/apps/other" }, "unknown_source"},
		{"the encoding before the size", func(*http.Request) {}, "unsupported_content_encoding"},
		{"the size before the signature", func(r *http.Request) { r.Header.Del("Content-Encoding") }, "body_too_large"},
		{"the signature before the age", func(r *http.Request) {
			r.Header.Del("Content-Encoding")
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(bodyAt(time.UnixMilli(1)))), -1
		}, "signature_mismatch"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			request := newPost("/webhooks/account", bodyOfSize(1<<20+1), strings.Repeat("0", 64))
			request.Header.Set("Content-Encoding", "gzip")
			test.change(request)
			var p struct{ Code string }
			response := newRig(t).do(request)
			decode(t, response.Body, &p)
			if p.Code != test.code {
				t.Errorf("%s, want %s", p.Code, test.code)
			}
		})
	}
}

func TestLargestBody(t *testing.T) {
	t.Parallel()
	for name, length := range map[string]int64{"with Content-Length": 1 << 20, "without": -1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			body := bodyOfSize(1 << 20)
			request := newPost("/webhooks/account", body, lumin.Sign([]byte(body), accountKey))
			request.ContentLength = length
			wantReceipt(t, r.do(request), `{"id":17,"status":"recorded"}`)
			if got := r.deliveries(); len(got) != 1 || string(got[0].Payload) != body {
				t.Error("another body was recorded")
			}
		})
	}
}

func TestFreshness(t *testing.T) {
	t.Parallel()
	const max, ahead = 48 * time.Hour, 10 * time.Minute
	for _, test := range []struct {
		name   string
		age    time.Duration // of the event when it arrives
		maxAge time.Duration
		code   string // "": recorded
	}{
		{"new", 0, max, ""},
		{"just young enough", max - time.Millisecond, max, ""},
		{"at the limit", max, max, ""},
		{"just too old", max + time.Millisecond, max, "timestamp_expired"},
		{"at the least limit", MinEventAge, MinEventAge, ""},
		{"over the least limit", MinEventAge + time.Millisecond, MinEventAge, "timestamp_expired"},
		{"years old", 10 * 365 * 24 * time.Hour, max, "timestamp_expired"},
		{"years old and no limit", 10 * 365 * 24 * time.Hour, 0, ""},
		{"just early enough", -ahead + time.Millisecond, max, ""},
		{"as early as allowed", -ahead, max, ""},
		{"just too early", -ahead - time.Millisecond, max, "timestamp_in_future"},
		{"just too early and no limit", -ahead - time.Millisecond, 0, "timestamp_in_future"},
		{"too early by 290 years", -290 * 365 * 24 * time.Hour, 0, "timestamp_in_future"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(cfg *Config) { cfg.MaxEventAge = test.maxAge })
			r.setClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
			response := r.postAccount(bodyAt(r.now().Add(-test.age)))
			if test.code == "" {
				wantReceipt(t, response, `{"id":17,"status":"recorded"}`)
				return
			}
			wantProblem(t, response.Result(), 400, test.code)
			if r.deliveries() != nil || r.routed != nil {
				t.Error("recorded or routed")
			}
			if got := r.metric("lumin_deliveries_total", "source=account", "result=refused", "reason="+test.code); got != 1 {
				t.Errorf("counted %v", got)
			}
			if line := r.output.only(t); line["event_type"] != "signature_request_signed" || line["key_id"] != lumin.KeyID(accountKey) {
				t.Errorf("logged %v", line)
			}
		})
	}
}

// An authentic event with an implausible time is stored. If it were refused, it
// would be lost when Lumin gives up.
func TestImplausibleTime(t *testing.T) {
	t.Parallel()
	for eventTime, reason := range map[string]string{
		"1694664207":       "event_time is in seconds",
		"1420070399999":    "event_time is before 2015",
		"1694664207595000": "event_time is out of range",
	} {
		for _, maxAge := range []time.Duration{48 * time.Hour, 0} {
			t.Run(fmt.Sprintf("%s, %v", eventTime, maxAge), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, func(cfg *Config) { cfg.MaxEventAge = maxAge })
				if w := r.postAccount(strings.Replace(bodyAt(time.UnixMilli(1)), `"event_time":1,`, `"event_time":`+eventTime+`,`, 1)); w.Code != 200 {
					t.Fatalf("answered %d %s", w.Code, w.Body)
				}
				if got := r.deliveries(); len(got) != 1 || got[0].Envelope != nil || got[0].Jobs != nil || r.routed != nil {
					t.Errorf("recorded %+v, routed %v", got, r.routed)
				}
				if line := r.output.only(t); line["reason"] != reason {
					t.Errorf("logged %v", line)
				}
			})
		}
	}
}

// Lumin's last retry is accepted like its first attempt, even if each failed
// attempt took another 30 s.
func TestEveryRetryIsFreshEnough(t *testing.T) {
	t.Parallel()
	for _, maxAge := range []time.Duration{48 * time.Hour, MinEventAge, 0} {
		for _, answerDelay := range []time.Duration{0, 30 * time.Second} {
			t.Run(fmt.Sprintf("%v, %v", maxAge, answerDelay), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, func(cfg *Config) { cfg.MaxEventAge = maxAge })
				r.setClock(documentedTime)
				attempts := 1
				wantReceipt(t, r.postAccount(documentedBody), `{"id":17,"status":"recorded"}`)
				for _, delay := range lumin.RetryDelays() {
					r.setClock(r.now().Add(answerDelay + delay))
					wantReceipt(t, r.postAccount(documentedBody), `{"id":17,"status":"recorded"}`)
					attempts++
				}
				if attempts != 7 || r.now().Sub(documentedTime) < lumin.RetryWindow {
					t.Errorf("%d attempts in %v", attempts, r.now().Sub(documentedTime))
				}
			})
		}
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

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"no sources":        func(cfg *Config) { cfg.Sources = nil },
		"a nameless source": func(cfg *Config) { cfg.Sources[""] = newKeyring(t, "k") },
		"a nameless app":    func(cfg *Config) { cfg.Sources["app:"] = newKeyring(t, "k") },
		"a long app":        func(cfg *Config) { cfg.Sources["app:"+strings.Repeat("a", 64)] = newKeyring(t, "k") },
		"an odd app":        func(cfg *Config) { cfg.Sources["app:a_b"] = newKeyring(t, "k") },
		"a bare name":       func(cfg *Config) { cfg.Sources["demo"] = newKeyring(t, "k") },
		"no keyring":        func(cfg *Config) { cfg.Sources["account"] = nil },
		"an empty keyring":  func(cfg *Config) { cfg.Sources["account"] = &lumin.Keyring{} },
		"no Record":         func(cfg *Config) { cfg.Record = nil },
		"no Route":          func(cfg *Config) { cfg.Route = nil },
		"no Logger":         func(cfg *Config) { cfg.Logger = nil },
		"1 s":               func(cfg *Config) { cfg.MaxEventAge = time.Second },
		"just below 31 h":   func(cfg *Config) { cfg.MaxEventAge = 31*time.Hour - 1 },
		"a negative age":    func(cfg *Config) { cfg.MaxEventAge = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := soundConfig(t)
			change(&cfg)
			if _, err := New(cfg); err == nil || !strings.HasPrefix(err.Error(), "ingest: ") {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("metrics registered twice", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		cfg := soundConfig(t)
		cfg.Registerer = r.registry
		if _, err := New(cfg); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("nothing wrong", func(t *testing.T) {
		t.Parallel()
		cfg := soundConfig(t)
		cfg.Sources["app:"+strings.Repeat("a-9", 21)] = newKeyring(t, "k")
		cfg.MaxEventAge = 31 * time.Hour
		if _, err := New(cfg); err != nil {
			t.Error(err)
		}
	})
}

// soundConfig returns the minimal valid Config.
func soundConfig(t *testing.T) Config {
	return Config{
		Sources: map[string]*lumin.Keyring{"account": newKeyring(t, accountKey)},
		Record: func(context.Context, store.Delivery) (store.Receipt, error) {
			return store.Receipt{}, errors.New("not meant to be called")
		},
		Route:  func(string, lumin.EventType) []store.JobSpec { return nil },
		Logger: slog.New(slog.DiscardHandler),
	}
}
