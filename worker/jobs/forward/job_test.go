package forward_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"lumin-ingest/lumin"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs/internal/jobtest"
	"lumin-ingest/worker/jobs/internal/retrylater"
)

func (r *receiver) requests() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// verifies reports whether the official library accepts a request.
func (r received) verifies(t *testing.T, secret string) bool {
	t.Helper()
	webhook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	return webhook.Verify(r.body, r.header) == nil
}

func TestForwardRequest(t *testing.T) {
	t.Parallel()
	to := newReceiver(t, status(http.StatusAccepted))
	old, current := forwardSecret("a", 24), forwardSecret("b", 64)
	at := target("crm", to.URL)
	at.Secrets = []string{current, old, current}
	e := forwardedEvent()
	if err := newForward(t, at).Work(context.Background(), e); err != nil {
		t.Fatal(err)
	}
	got := to.requests()
	if len(got) != 1 || !bytes.Equal(got[0].body, e.Payload) || got[0].method != "POST" || got[0].uri != "/hook?token="+queryCanary {
		t.Fatalf("got %q", got)
	}
	header := got[0].header
	for name, want := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "lumin-ingest", "X-Signature": strings.Repeat("ab", 32),
		"Webhook-Id": e.IdempotencyKey(), "X-Lumin-Source": "account", "Accept-Encoding": "", "Authorization": "",
	} {
		if header.Get(name) != want || len(header.Values(name)) > 1 {
			t.Errorf("%s is %q, want %q", name, header.Values(name), want)
		}
	}
	if !got[0].verifies(t, current) || !got[0].verifies(t, old) || got[0].verifies(t, forwardSecret("c", 32)) {
		t.Errorf("signatures %q", header.Get("Webhook-Signature"))
	}
	if n := len(strings.Fields(header.Get("Webhook-Signature"))); n != 2 {
		t.Errorf("%d signatures, want 2", n)
	}
}

// A recovered event has no signature of Lumin. Its request is signed as any other.
func TestForwardRecovered(t *testing.T) {
	t.Parallel()
	to := newReceiver(t, status(http.StatusOK))
	e := forwardedEvent()
	e.Source, e.Recovered, e.Signature = "recovered", true, []byte{}
	if err := newForward(t, target("crm", to.URL)).Work(context.Background(), e); err != nil {
		t.Fatal(err)
	}
	got := to.requests()[0]
	if values, found := got.header["X-Signature"]; found || got.header.Get("X-Lumin-Source") != "recovered" || !got.verifies(t, forwardSecret("a", 32)) {
		t.Errorf("X-Signature %q, X-Lumin-Source %q", values, got.header.Get("X-Lumin-Source"))
	}
	for _, refuse := range []bool{true, false} {
		at := target("crm", to.URL)
		at.RefuseRecovered = refuse
		if newForward(t, at).Recovered() == refuse {
			t.Errorf("RefuseRecovered %t has no effect", refuse)
		}
	}
}

// The timestamp is that of the attempt, which receivers compare with their
// clock.
func TestForwardTimestamp(t *testing.T) {
	t.Parallel()
	to := newReceiver(t, status(http.StatusOK))
	if err := newForward(t, target("crm", to.URL)).At(time.Unix(1694664207, 999e6)).Work(context.Background(), forwardedEvent()); err != nil {
		t.Fatal(err)
	}
	got := to.requests()[0]
	if at := got.header.Get("Webhook-Timestamp"); at != "1694664207" {
		t.Errorf("webhook-timestamp is %q", at)
	}
	webhook, _ := standardwebhooks.NewWebhook(forwardSecret("a", 32))
	if err := webhook.VerifyIgnoringTimestamp(got.body, got.header); err != nil {
		t.Error(err)
	}
}

func TestForwardVerdict(t *testing.T) {
	t.Parallel()
	const retried, failed, cancelled, done = "retried", "failed", "cancelled", "done"
	for _, test := range []struct {
		status  int
		headers []string
		want    string
	}{
		{200, nil, done}, {201, nil, done}, {204, nil, done}, {299, nil, done},
		{301, []string{"Location", "/elsewhere"}, retried}, {302, []string{"Location", "/elsewhere"}, retried},
		{307, []string{"Location", "/elsewhere"}, retried}, {308, []string{"Location", "/elsewhere"}, retried},
		{302, []string{"Location", "http://[" + answerCanary}, retried},
		{304, nil, retried},
		{400, nil, failed}, {401, nil, failed}, {404, nil, failed}, {413, nil, failed}, {422, nil, failed}, {499, nil, failed},
		{408, nil, retried}, {425, nil, retried}, {410, nil, cancelled},
		{500, nil, retried}, {502, nil, retried}, {504, nil, retried}, {599, nil, retried}, {999, nil, retried},
		{101, []string{"Connection", "Upgrade", "Upgrade", "x"}, retried},
		{429, nil, "1m0s"}, {503, nil, "1m0s"}, {429, []string{"Retry-After", "7"}, "7s"}, {503, []string{"Retry-After", "86400"}, "1h0m0s"},
	} {
		t.Run(fmt.Sprint(test.status, test.headers), func(t *testing.T) {
			t.Parallel()
			to := newReceiver(t, status(test.status, test.headers...))
			err := newForward(t, target("crm", to.URL)).Work(context.Background(), forwardedEvent())
			if got := jobtest.Outcome(err); got != test.want {
				t.Errorf("%v: %s, want %s", err, got, test.want)
			}
			if n := len(to.requests()); n != 1 {
				t.Errorf("%d requests", n)
			}
			if err == nil {
				return
			}
			noLeak(t, err.Error())
			badLocation := len(test.headers) == 2 && strings.HasPrefix(test.headers[1], "http://[")
			if text := err.Error(); !strings.Contains(text, "crm") || !(badLocation || strings.Contains(text, fmt.Sprint(test.status))) {
				t.Errorf("%q has not both target and status", text)
			}
		})
	}
}

func TestForwardRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	in := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for text, want := range map[string]time.Duration{
		"": time.Minute, "soon": time.Minute, "-5": time.Minute, "1.5": time.Minute, "0x10": time.Minute,
		"0": time.Second, "1": time.Second, " 30 ": 30 * time.Second, "3600": time.Hour, "3601": time.Hour,
		"99999999999999999999999999": time.Hour, "4294967295": time.Hour,
		in(90 * time.Second): 90 * time.Second, in(-time.Hour): time.Second, in(48 * time.Hour): time.Hour,
		"Wed, 99 Jul 2026 12:00:00 GMT": time.Minute,
	} {
		if got, _ := retrylater.Delay(lumin.RetryAfter(text, now), 0); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// Name, kind, queue and events of a target.
func TestForwardJobType(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 56)
	some := target(long, "http://127.0.0.1:1")
	some.Events = []lumin.EventType{lumin.SignatureRequestApproved}
	registry := worker.NewRegistry()
	registry.Add(newForward(t, some))
	registry.Add(newForward(t, target("crm-2", "http://127.0.0.1:1")))
	if err := registry.Err(); err != nil {
		t.Fatal(err)
	}
	kinds := func(event lumin.EventType) (all []string) {
		for _, spec := range registry.Route("app:x", event) {
			all = append(all, spec.Kind+" in "+spec.Queue)
		}
		return all
	}
	both := []string{"forward_" + long + " in forward_" + long, "forward_crm-2 in forward_crm-2"}
	if got := kinds(lumin.SignatureRequestApproved); !slices.Equal(got, both) {
		t.Errorf("%q", got)
	}
	if got := kinds("signature_request_sent"); !slices.Equal(got, both[1:]) {
		t.Errorf("%q", got)
	}
	if d := newForward(t, some).Timeout(); d != 30*time.Second {
		t.Error(d)
	}
}

// Only the configured URL is ever requested.
func TestForwardFetchesNothing(t *testing.T) {
	t.Parallel()
	other := newReceiver(t, status(200))
	to := newReceiver(t, status(200))
	e := forwardedEvent()
	e.Payload = fmt.Appendf(nil, `{"details_url":%q,"signature_request":{"details_url":%q}}`, other.URL, other.URL)
	if err := newForward(t, target("crm", to.URL)).Work(context.Background(), e); err != nil {
		t.Fatal(err)
	}
	if n := other.conn.Load(); n != 0 {
		t.Errorf("%d connections to what the body names", n)
	}
}
