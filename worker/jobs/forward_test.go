package jobs_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river/rivertype"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs"
)

const (
	forwardAccountKey = "canary_account_key"
	queryCanary       = "canary_query_token"
	answerCanary      = "canary_answer"
)

// forwardSecret returns a secret with a key of this many bytes.
func forwardSecret(letter string, length int) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(letter, length)))
}

func loopback() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }

// receiver is a target that records its requests.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	got  []received
	conn atomic.Int32 // connections that were made to it
}

type received struct {
	header http.Header
	body   []byte
	method string
	uri    string
}

// newReceiver starts a target that answers request n, counted from 1, with
// answer.
func newReceiver(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, n int)) *receiver {
	t.Helper()
	r := unstarted(answer)
	r.Start()
	t.Cleanup(r.Close)
	return r
}

func unstarted(answer func(w http.ResponseWriter, r *http.Request, n int)) *receiver {
	r := &receiver{}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.got = append(r.got, received{req.Header.Clone(), body, req.Method, req.RequestURI})
		n := len(r.got)
		r.mu.Unlock()
		answer(w, req, n)
	}))
	r.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			r.conn.Add(1)
		}
	}
	r.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	return r
}

// status answers with one status and a body that must not appear anywhere.
func status(code int, headers ...string) func(http.ResponseWriter, *http.Request, int) {
	return func(w http.ResponseWriter, _ *http.Request, _ int) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
		fmt.Fprint(w, answerCanary)
	}
}

func (r *receiver) requests() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// target forwards to a URL on this machine.
func target(name, to string) jobs.ForwardTarget {
	return jobs.ForwardTarget{
		Name: name, URL: to + "/hook?token=" + queryCanary,
		Secrets: []string{forwardSecret("a", 32)}, AllowNetworks: loopback(),
	}
}

func newForward(t *testing.T, target jobs.ForwardTarget) *jobs.Forward {
	t.Helper()
	f, err := jobs.NewForward(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Transport().CloseIdleConnections)
	return f
}

func forwardedEvent() *store.Event {
	payload := []byte("{\"b\":1,  \"a\":\"\\u00e9é\",\"details_url\":\"http://127.0.0.1:1/\"}\r\n")
	return &store.Event{
		ID: 7, Key: lumin.EventKey{1, 2, 3}, Source: "account", Type: lumin.SignatureRequestSigned, Payload: payload,
		Signature: bytes.Repeat([]byte{0xAB}, 32), ReceivedAt: time.Now(), JobKind: "forward_crm",
	}
}

// noLeak fails the test if a text contains a secret.
func noLeak(t *testing.T, text string) {
	t.Helper()
	for _, canary := range []string{queryCanary, answerCanary, "whsec_", "YWFh", "canary_user"} {
		if strings.Contains(text, canary) {
			t.Errorf("%q contains %q", text, canary)
		}
	}
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
			if got := whatBecomes(err); got != test.want {
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

// whatBecomes returns what the runtime does with an error.
func whatBecomes(err error) string {
	var (
		snooze *rivertype.JobSnoozeError
		cancel *rivertype.JobCancelError
	)
	switch {
	case err == nil:
		return "done"
	case errors.As(err, &snooze):
		return snooze.Duration.String()
	case errors.As(err, &cancel):
		return "cancelled"
	case fmt.Sprintf("%T", err) == fmt.Sprintf("%T", worker.JobFail(nil)):
		return "failed"
	}
	return "retried"
}

// A job is not snoozed once its event is a day old.
func TestForwardPutOffEnds(t *testing.T) {
	t.Parallel()
	for _, code := range []int{429, 503} {
		to := newReceiver(t, status(code))
		f := newForward(t, target("crm", to.URL))
		e := forwardedEvent()
		f.At(e.ReceivedAt.Add(24 * time.Hour))
		if got := whatBecomes(f.Work(context.Background(), e)); got != "1m0s" {
			t.Errorf("%d after a day: %s", code, got)
		}
		f.At(e.ReceivedAt.Add(24*time.Hour + 1))
		if got := whatBecomes(f.Work(context.Background(), e)); got != "retried" {
			t.Errorf("%d after more than a day: %s", code, got)
		}
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
		if got := jobs.SnoozeFor(text, now); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// Without allowed networks, only public addresses are connected to.
func TestForwardRefusesPrivate(t *testing.T) {
	t.Parallel()
	to := newReceiver(t, status(200))
	port := to.Listener.Addr().(*net.TCPAddr).Port
	for _, host := range []string{
		"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:a01:203]", "10.1.2.3", "172.16.0.1", "192.168.0.1",
		"169.254.169.254", "100.64.0.1", "0.0.0.0", "[::]", "[fe80::1]", "[fd00::1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]",
		"[::7f00:1]", "[fec0::1]", "[2002:7f00:1::]",
	} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			at := target("crm", fmt.Sprintf("https://%s:%d", host, port))
			at.AllowNetworks = nil
			err := newForward(t, at).Work(context.Background(), forwardedEvent())
			if whatBecomes(err) != "retried" || !strings.Contains(err.Error(), "is not public") || !strings.Contains(err.Error(), "FORWARD_ALLOW_NETWORKS") {
				t.Fatalf("error %v", err)
			}
			noLeak(t, err.Error())
		})
	}
	t.Cleanup(func() {
		if n := to.conn.Load(); n != 0 {
			t.Errorf("%d connections were made", n)
		}
	})
}

// With allowed networks, no other address is connected to, not even a public
// one.
func TestForwardAllowedNetworks(t *testing.T) {
	t.Parallel()
	to := newReceiver(t, status(200))
	port := to.Listener.Addr().(*net.TCPAddr).Port
	for _, test := range []struct {
		host, networks string
		allowed        bool
	}{
		{"127.0.0.1", "127.0.0.0/8", true},
		{"localhost", "127.0.0.0/8", true},
		{"[::ffff:127.0.0.1]", "127.0.0.0/8", true},
		{"127.0.0.1", "10.0.0.0/8,127.0.0.1/32", true},
		{"127.0.0.1", "10.0.0.0/8", false},
		{"127.0.0.1", "::/0", false},
		{"localhost", "10.0.0.0/8", false},
		{"1.1.1.1", "127.0.0.0/8", false},
		{"[2606:4700:4700::1111]", "127.0.0.0/8", false},
	} {
		t.Run(test.host+" "+test.networks, func(t *testing.T) {
			t.Parallel()
			scheme := "http"
			if strings.Contains(test.networks, "::/0") {
				scheme = "https"
			}
			at := target("crm", fmt.Sprintf("%s://%s:%d", scheme, test.host, port))
			at.AllowNetworks = nil
			for network := range strings.SplitSeq(test.networks, ",") {
				at.AllowNetworks = append(at.AllowNetworks, netip.MustParsePrefix(network))
			}
			err := newForward(t, at).Work(context.Background(), forwardedEvent())
			if test.allowed {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), "outside its allowed networks") {
				t.Fatalf("error %v", err)
			}
		})
	}
}

// An address with a zone can also come from the network or the hosts file. It
// makes the address check panic in a goroutine where the panic cannot be
// recovered.
func TestForwardZone(t *testing.T) {
	t.Parallel()
	dial := newForward(t, target("crm", "http://127.0.0.1:1")).Transport().DialContext
	if conn, err := dial(context.Background(), "tcp", "[fe80::1%1]:1"); err == nil {
		conn.Close()
		t.Error("connected")
	} else if !strings.Contains(err.Error(), "zone") {
		t.Error(err)
	}
}

func TestForwardWithoutAnswer(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	listener.Close()
	noise, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { noise.Close() })
	go func() {
		for {
			conn, err := noise.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(conn, "%s\r\n\r\n", answerCanary)
			conn.Close()
		}
	}()
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	for name, test := range map[string]struct{ url, want string }{
		"no listener":           {"http://" + closed, "connection refused"},
		"what is not HTTP":      {"http://" + noise.Addr().String(), "no response"},
		"what is not TLS":       {"https://" + noise.Addr().String(), "does not speak TLS"},
		"untrusted certificate": {untrusted.URL, "certificate"},
		"no such host":          {"http://no-such-host.invalid", "no-such-host.invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := newForward(t, target("crm", test.url)).Work(context.Background(), forwardedEvent())
			if whatBecomes(err) != "retried" || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "crm") {
				t.Fatalf("error %v, want %q", err, test.want)
			}
			noLeak(t, err.Error())
		})
	}
}

// The status decides, even if the body never ends.
func TestForwardEndlessAnswer(t *testing.T) {
	t.Parallel()
	var much atomic.Int64
	t.Cleanup(func() {
		if n := much.Load(); n > 64<<20 { // far more than what buffers on the way hold
			t.Errorf("%d bytes were taken", n)
		}
	})
	for name, write := range map[string]func(w io.Writer) error{
		"much":     func(w io.Writer) error { n, err := w.Write(make([]byte, 1<<16)); much.Add(int64(n)); return err },
		"dripping": func(io.Writer) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := newReceiver(t, func(w http.ResponseWriter, r *http.Request, _ int) {
				w.WriteHeader(200)
				_ = http.NewResponseController(w).Flush()
				for r.Context().Err() == nil {
					if write(w) != nil {
						return
					}
					if name == "dripping" {
						<-r.Context().Done()
					}
				}
			})
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if err := newForward(t, target("crm", to.URL)).Work(ctx, forwardedEvent()); err != nil || ctx.Err() != nil {
				t.Error(err, ctx.Err())
			}
		})
	}
}

// Workers use connections again, over HTTP/1 and HTTP/2.
func TestForwardReusesConnections(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %t", http2), func(t *testing.T) {
			t.Parallel()
			var protocol atomic.Value
			to := unstarted(func(w http.ResponseWriter, r *http.Request, _ int) {
				protocol.Store(r.Proto)
				fmt.Fprint(w, strings.Repeat("x", 10_000))
			})
			to.EnableHTTP2 = http2
			to.StartTLS()
			t.Cleanup(to.Close)
			roots := x509.NewCertPool()
			roots.AddCert(to.Certificate())
			f := newForward(t, target("crm", to.URL)).Trust(roots)
			const requests = 20 // of each worker
			var group sync.WaitGroup
			for range worker.DefaultMaxWorkers {
				group.Go(func() {
					for range requests {
						if err := f.Work(context.Background(), forwardedEvent()); err != nil {
							t.Error(err)
						}
					}
				})
			}
			group.Wait()
			// A worker opens a further connection if another worker took its
			// own. How often that happens depends on the load of the machine.
			if n := to.conn.Load(); n > worker.DefaultMaxWorkers*requests/4 {
				t.Errorf("%d connections for %d requests", n, worker.DefaultMaxWorkers*requests)
			}
			if want := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[http2]; protocol.Load() != want {
				t.Errorf("%v, want %s", protocol.Load(), want)
			}
		})
	}
}

func TestForwardUsesNoProxy(t *testing.T) {
	t.Parallel()
	if newForward(t, target("crm", "http://127.0.0.1:1")).Transport().Proxy != nil {
		t.Error("the environment may name a proxy, whose address would be checked in place of the target's")
	}
}

func TestNewForwardRefuses(t *testing.T) {
	t.Parallel()
	prefix := netip.MustParsePrefix
	for name, test := range map[string]struct {
		change func(*jobs.ForwardTarget)
		want   string
	}{
		"no name":               {func(a *jobs.ForwardTarget) { a.Name = "" }, "name of a target"},
		"name in upper case":    {func(a *jobs.ForwardTarget) { a.Name = "CRM" }, "name of a target"},
		"name with two hyphens": {func(a *jobs.ForwardTarget) { a.Name = "c--m" }, "single hyphens"},
		"name of 57":            {func(a *jobs.ForwardTarget) { a.Name = strings.Repeat("a", 57) }, "1 to 56"},
		"no URL":                {func(a *jobs.ForwardTarget) { a.URL = "" }, "write it as https://"},
		"no scheme":             {func(a *jobs.ForwardTarget) { a.URL = "example.com?" + queryCanary }, "write it as https://"},
		"another scheme":        {func(a *jobs.ForwardTarget) { a.URL = "ftp://example.com/?" + queryCanary }, "write it as https://"},
		"no host":               {func(a *jobs.ForwardTarget) { a.URL = "https:///path?" + queryCanary }, "write it as https://"},
		"not a URL":             {func(a *jobs.ForwardTarget) { a.URL = "https://a b/?" + queryCanary }, "write it as https://"},
		"control characters":    {func(a *jobs.ForwardTarget) { a.URL = "https://example.com/\n" + queryCanary }, "write it as https://"},
		"a zone":                {func(a *jobs.ForwardTarget) { a.URL = "https://[fe80::1%25eth0]/" }, "zone"},
		"port 0":                {func(a *jobs.ForwardTarget) { a.URL = "https://example.com:0/" }, "1 to 65535"},
		"port 65536":            {func(a *jobs.ForwardTarget) { a.URL = "https://example.com:65536/" }, "1 to 65535"},
		"user":                  {func(a *jobs.ForwardTarget) { a.URL = "https://canary_user:x@example.com/" }, "user or password"},
		"fragment":              {func(a *jobs.ForwardTarget) { a.URL = "https://example.com/#" + queryCanary }, "fragment"},
		"http in public":        {func(a *jobs.ForwardTarget) { a.AllowNetworks = nil }, "write https"},
		"http, partly public": {func(a *jobs.ForwardTarget) {
			a.AllowNetworks = []netip.Prefix{prefix("10.0.0.0/8"), prefix("8.8.8.0/24")}
		}, "write https"},
		"http, more than private": {func(a *jobs.ForwardTarget) { a.AllowNetworks = []netip.Prefix{prefix("10.0.0.0/7")} }, "write https"},
		"no network":              {func(a *jobs.ForwardTarget) { a.AllowNetworks = []netip.Prefix{{}} }, "10.1.0.0/16"},
		"IPv4 within IPv6":        {func(a *jobs.ForwardTarget) { a.AllowNetworks = []netip.Prefix{prefix("::ffff:10.0.0.0/104")} }, "10.1.0.0/16"},
		"no secret":               {func(a *jobs.ForwardTarget) { a.Secrets = nil }, "nothing is forwarded unsigned"},
		"an empty secret":         {func(a *jobs.ForwardTarget) { a.Secrets[0] = "" }, "secret 1 of 1 does not begin with whsec_"},
		"a bare secret":           {func(a *jobs.ForwardTarget) { a.Secrets[0] = strings.TrimPrefix(a.Secrets[0], "whsec_") }, "does not begin with whsec_"},
		"an empty key":            {func(a *jobs.ForwardTarget) { a.Secrets[0] = "whsec_" }, "key of 0 bytes"},
		"a key of 23":             {func(a *jobs.ForwardTarget) { a.Secrets = append(a.Secrets, forwardSecret("a", 23)) }, "secret 2 of 2 has a key of 23 bytes: give 24 to 64"},
		"a key of 65":             {func(a *jobs.ForwardTarget) { a.Secrets[0] = forwardSecret("a", 65) }, "key of 65 bytes"},
		"not Base64":              {func(a *jobs.ForwardTarget) { a.Secrets[0] = "whsec_" + strings.Repeat("_-YWFh", 8) }, "not Base64"},
		"a line break":            {func(a *jobs.ForwardTarget) { a.Secrets[0] += "\n" }, "not Base64"},
		"an empty event type":     {func(a *jobs.ForwardTarget) { a.Events = []lumin.EventType{""} }, "event type is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := target("crm", "http://127.0.0.1:1")
			test.change(&at)
			_, err := jobs.NewForward(at)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want %q", err, test.want)
			}
			noLeak(t, strings.ReplaceAll(strings.ReplaceAll(err.Error(), "whsec_:", ""), "whsec_", ""))
		})
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

// quick is a Forward with a short backoff and, if set, a short timeout.
type quick struct {
	*jobs.Forward
	timeout  time.Duration
	attempts int
}

func (quick) Backoff(int) time.Duration { return time.Millisecond }

func (q quick) MaxAttempts() int {
	if q.attempts > 0 {
		return q.attempts
	}
	return q.Forward.MaxAttempts()
}

func (q quick) Timeout() time.Duration {
	if q.timeout > 0 {
		return q.timeout
	}
	return q.Forward.Timeout()
}

// newForwardRig runs job types on a database of its own.
func newForwardRig(t *testing.T, types ...worker.Plain) *rig {
	t.Helper()
	registry := worker.NewRegistry()
	for _, jobType := range types {
		registry.Add(jobType)
	}
	return newRigOf(t, registry, slog.LevelError+1, 2)
}

// deliver records a body like a delivery from Lumin.
func (r *rig) deliver(t *testing.T, payload []byte) {
	t.Helper()
	keyring, err := lumin.NewKeyring(forwardAccountKey)
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{}
	header.Set(lumin.SignatureHeader, lumin.Sign(payload, forwardAccountKey))
	match, err := keyring.Verify(payload, header)
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := lumin.DecodeEnvelope(payload)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.recorder.Record(context.Background(), store.Delivery{
		Source: "account", Envelope: &envelope, Payload: payload, Signature: match.Signature, KeyID: match.KeyID,
		ReceivedAt: time.Now(), Jobs: r.registry.Route("account", envelope.EventType),
	}); err != nil {
		t.Fatal(err)
	}
}

// waitRun waits until a run is in this state and returns its attempts and
// error.
func (r *rig) waitRun(t *testing.T, kind, state string) (attempts int, problem string) {
	t.Helper()
	const runSQL = `SELECT state, attempts, coalesce(error, '') FROM lumin.runs WHERE job_kind = $1`
	var got string
	for deadline := time.Now().Add(45 * time.Second); ; time.Sleep(10 * time.Millisecond) { // between two looks
		if err := r.pool.QueryRow(context.Background(), runSQL, kind).Scan(&got, &attempts, &problem); err != nil {
			t.Fatal(err)
		}
		if got == state {
			noLeak(t, problem)
			return attempts, problem
		}
		if time.Now().After(deadline) {
			t.Fatalf("run of %s is %s after %d attempts, not %s: %s", kind, got, attempts, state, problem)
		}
	}
}

// Spacing, escapes and the final line break must arrive unchanged.
const deliveredBody = "{\"event\": { \"event_time\": 1694664207595, \"event_type\": \"signature_request_sent\" },\n" +
	" \"signature_request\": { \"signature_request_id\": \"r-1\", \"title\": \"\\u00e9 é <b>\" } }\r\n"

// The bytes that Lumin signed arrive, and both signatures are valid. A second
// attempt has the same webhook-id.
func TestForwardDelivers(t *testing.T) {
	t.Parallel()
	to := newReceiver(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if n < 3 {
			status(500)(w, r, n)
		}
	})
	r := newForwardRig(t, quick{Forward: newForward(t, target("crm", to.URL))})
	r.deliver(t, []byte(deliveredBody))
	if attempts, _ := r.waitRun(t, "forward_crm", "succeeded"); attempts != 3 {
		t.Errorf("%d attempts, want 3", attempts)
	}
	keyring, _ := lumin.NewKeyring(forwardAccountKey)
	ids := map[string]bool{}
	for _, got := range to.requests() {
		ids[got.header.Get("Webhook-Id")] = true
		if string(got.body) != deliveredBody {
			t.Errorf("body %q", got.body)
		}
		if !got.verifies(t, forwardSecret("a", 32)) {
			t.Error("not verified by the library")
		}
		if _, err := keyring.Verify(got.body, got.header); err != nil {
			t.Error(err)
		}
	}
	if len(ids) != 1 || ids[""] {
		t.Errorf("webhook-ids %v, want one", ids)
	}
}

// Each target has its own webhook-id, because each must process the event once.
func TestForwardToTwo(t *testing.T) {
	t.Parallel()
	one, two := newReceiver(t, status(200)), newReceiver(t, status(200))
	r := newForwardRig(t, newForward(t, target("one", one.URL)), newForward(t, target("two", two.URL)))
	r.deliver(t, []byte(deliveredBody))
	r.waitRun(t, "forward_one", "succeeded")
	r.waitRun(t, "forward_two", "succeeded")
	if a, b := one.requests(), two.requests(); len(a) != 1 || len(b) != 1 || a[0].header.Get("Webhook-Id") == b[0].header.Get("Webhook-Id") {
		t.Errorf("got %v and %v", a, b)
	}
}

func TestForwardEnds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		answer   int
		state    string
		attempts int
	}{
		{410, "cancelled", 1},
		{400, "failed", 1},
		{502, "failed", 3},
		{308, "failed", 3},
	} {
		t.Run(fmt.Sprint(test.answer), func(t *testing.T) {
			t.Parallel()
			elsewhere := newReceiver(t, status(200))
			to := newReceiver(t, status(test.answer, "Location", elsewhere.URL))
			r := newForwardRig(t, quick{Forward: newForward(t, target("crm", to.URL)), attempts: 3})
			r.deliver(t, []byte(deliveredBody))
			_, problem := r.waitRun(t, "forward_crm", test.state)
			if !strings.Contains(problem, fmt.Sprint(test.answer)) {
				t.Errorf("error %q", problem)
			}
			if n := len(to.requests()); n != test.attempts {
				t.Errorf("%d requests, want %d", n, test.attempts)
			}
			if n := len(elsewhere.requests()); n != 0 {
				t.Error("the redirect was followed")
			}
		})
	}
}

// A target can ask for a pause, which uses no attempt.
func TestForwardPutOff(t *testing.T) {
	t.Parallel()
	var first, second time.Time
	to := newReceiver(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if n == 1 {
			first = time.Now()
			status(429, "Retry-After", "2")(w, r, n) // longer than until River looks again anyway
			return
		}
		second = time.Now()
	})
	r := newForwardRig(t, quick{Forward: newForward(t, target("crm", to.URL)), attempts: 1})
	r.deliver(t, []byte(deliveredBody))
	if attempts, _ := r.waitRun(t, "forward_crm", "succeeded"); attempts != 1 {
		t.Errorf("%d attempts", attempts)
	}
	if got := to.requests(); len(got) != 2 || second.Sub(first) < 1900*time.Millisecond ||
		got[0].header.Get("Webhook-Id") != got[1].header.Get("Webhook-Id") {
		t.Errorf("%d requests, %s apart", len(got), second.Sub(first))
	}
}

// A target that does not answer uses no workers of another target.
func TestForwardHanging(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	slow := newReceiver(t, func(_ http.ResponseWriter, r *http.Request, _ int) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(release) })
	fast := newReceiver(t, status(200))
	r := newForwardRig(t,
		quick{Forward: newForward(t, target("slow", slow.URL)), timeout: time.Second, attempts: 1},
		newForward(t, target("fast", fast.URL)))
	const events = 8 // more than there are workers in a queue
	for n := range events {
		r.deliver(t, fmt.Appendf(nil, `{"event":{"event_time":7,"event_type":"t"},"signature_request":{"signature_request_id":"%d"}}`, n))
	}
	for deadline := time.Now().Add(45 * time.Second); len(fast.requests()) < events; time.Sleep(5 * time.Millisecond) { // between two looks
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d events have got through", len(fast.requests()), events)
		}
	}
	if n := r.count(t, `SELECT count(*) FROM lumin.runs WHERE job_kind = 'forward_slow' AND state <> 'pending'`); n == events {
		t.Error("the fast target had to wait for the slow one")
	}
	if _, problem := r.waitRun(t, "forward_slow", "failed"); !strings.Contains(problem, "no response in time") {
		t.Errorf("error %q", problem)
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

func ExampleNewForward() {
	registry := worker.NewRegistry()
	crm, err := jobs.NewForward(jobs.ForwardTarget{
		Name:    "crm",
		URL:     (&url.URL{Scheme: "https", Host: "crm.example.com", Path: "/lumin"}).String(),
		Secrets: []string{"whsec_" + base64.StdEncoding.EncodeToString([]byte("in truth 24 to 64 random bytes"))},
		Events:  []lumin.EventType{lumin.SignatureRequestApproved},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	registry.Add(crm)
	fmt.Println(registry.Kinds())
	// Output: [forward_crm]
}
