package app

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"go.opentelemetry.io/otel/trace"

	"lumin-ingest/internal/pgproxy"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/service"
	"lumin-ingest/internal/tracing"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

// canaryRun is a service whose secrets and deliveries are canaries, and whose
// job types, database and other systems fail. It collects what they print.
type canaryRun struct {
	*service.Service
	t         *testing.T
	canaries  canaries
	url       string
	proxy     *pgproxy.Proxy
	elsewhere *httptest.Server // in place of Lumin's API and of a receiver
	repeated  canaries         // which elsewhere repeats; the test adds to canaries at the same time
	log       *lines
	spans     *exported
	stop      func() error
	failures  atomic.Int32
	collected map[string]string
	codes     []int // statuses of answers
}

func startCanaryRun(t *testing.T) *canaryRun {
	t.Helper()
	r := &canaryRun{t: t, canaries: newCanaries(), url: pgtest.New(t), log: &lines{}, spans: &exported{}, collected: map[string]string{}}
	r.repeated = maps.Clone(r.canaries)
	var err error
	if r.proxy, err = pgproxy.Start(r.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.proxy.Close)
	r.elsewhere = httptest.NewServer(http.HandlerFunc(r.fail))
	t.Cleanup(r.elsewhere.Close)
	ctx, cancel := context.WithCancel(context.Background())
	if r.Service, err = service.New(ctx, r.config(ctx)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = r.stop() })
	r.waitReady()
	return r
}

func (r *canaryRun) waitReady() {
	r.t.Helper()
	eventually(r.t, 60*time.Second, "/readyz answers 200", func() bool {
		status, _ := get("http://" + r.AdminAddr() + "/readyz")
		return status == http.StatusOK
	})
}

func (r *canaryRun) config(ctx context.Context) service.Config {
	r.t.Helper()
	c := r.canaries
	client, err := lumin.NewClient(lumin.ClientConfig{BaseURL: r.elsewhere.URL, APIKey: c["API key"]})
	if err != nil {
		r.t.Fatal(err)
	}
	cfg := service.Config{
		Logger:      slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		DatabaseURL: r.proxy.URL(), Public: service.Address{HostPort: "127.0.0.1:0"}, Admin: service.Address{HostPort: "127.0.0.1:0"},
		Ingest: true, Work: true, MaxWorkers: 8, MaxEventAge: 48 * time.Hour,
	}
	cfg.Tracer = tracing.New(tracing.Config{Exporter: r.spans, Sync: true})
	if cfg.Sources, err = r.sources().keyrings(); err != nil {
		r.t.Fatal(err)
	}
	builtIn := builtInSettings{
		SignatureRequestState: true,
		forwardSettings: forwardSettings{
			ForwardURLs: "crm=" + r.elsewhere.URL + "/?key=" + c["query of a target"], ForwardSecrets: "crm=whsec_" + c["forward secret"], ForwardAllowNetworks: "crm=127.0.0.0/8",
		},
		archiveSettings: archiveSettings{ArchiveURL: "file://" + r.t.TempDir(), ArchiveFiles: []string{"agreement"}},
	}
	if err := addJobTypes(ctx, &cfg, r.jobTypes, Env{Lumin: client}, builtIn); err != nil {
		r.t.Fatal(err)
	}
	return cfg
}

func (r *canaryRun) sources() sourceSettings {
	return sourceSettings{AccountAPIKeys: r.canaries["account key"], AppSecrets: "demo=" + r.canaries["app secret"]}
}

// fail answers with an error that repeats the request and the canaries.
func (r *canaryRun) fail(w http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(request.Body)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Location", "/?token="+r.repeated["token"])
	code := []int{500, 400, 302, 429, 200, 404}[r.failures.Add(1)%6]
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"error_code":%q,"error_message":%q,"signed_url":"http://[%s","x":%q}`, r.repeated["token"], r.repeated.leakText(), r.repeated["token"], fmt.Sprint(request.Header, string(body)))
}

// leaky is a job type that fails with a text that it should not show.
type leaky struct {
	worker.Defaults
	kind string
	last bool // makes one attempt
	work func(context.Context) error
}

func (l leaky) Kind() string                                    { return l.kind }
func (leaky) Events() []lumin.EventType                         { return []lumin.EventType{lumin.SignatureRequestApproved} }
func (leaky) Timeout() time.Duration                            { return time.Second }
func (l leaky) Work(ctx context.Context, _ *worker.Event) error { return l.work(ctx) }
func (l leaky) MaxAttempts() int {
	if l.last {
		return 1
	}
	return 10
}

// leakyTx lets the database quote an address.
type leakyTx struct {
	worker.Defaults
	text string
}

func (leakyTx) Kind() string              { return "leaky_tx" }
func (leakyTx) Events() []lumin.EventType { return leaky{}.Events() }
func (leakyTx) MaxAttempts() int          { return 1 }

func (l leakyTx) WorkTx(ctx context.Context, tx pgx.Tx, _ *worker.Event) error {
	_, err := tx.Exec(ctx, `SELECT $1::text::integer`, l.text)
	trace.SpanFromContext(ctx).RecordError(err)
	return err
}

func (r *canaryRun) jobTypes(context.Context, Env) (*worker.Registry, error) {
	text := r.canaries.leakText()
	err := errors.New(text)
	registry := worker.NewRegistry()
	for _, l := range []leaky{
		{kind: "leaky_error", last: true, work: func(context.Context) error { return err }},
		{kind: "leaky_retry", work: func(context.Context) error { return fmt.Errorf("again: %w", err) }},
		{kind: "leaky_panic", last: true, work: func(context.Context) error { panic(err) }},
		{kind: "leaky_timeout", last: true, work: func(ctx context.Context) error { <-ctx.Done(); return fmt.Errorf("%w: %w", err, ctx.Err()) }},
		{kind: "leaky_fail", work: func(context.Context) error { return worker.JobFail(err) }},
		{kind: "leaky_cancel", work: func(context.Context) error { return river.JobCancel(err) }},
		{kind: "leaky_snooze", work: func(context.Context) error { return fmt.Errorf("%w: %w", err, river.JobSnooze(time.Hour)) }},
	} {
		registry.Add(l)
	}
	registry.AddTx(leakyTx{text: r.canaries["email"]})
	return registry, nil
}

// collect keeps a text for the search.
func (r *canaryRun) collect(what, text string) {
	r.collected[what+" "+strconv.Itoa(len(r.collected))] = text
}

// send posts to a path and collects the answer.
func (r *canaryRun) send(path string, body []byte, change func(*http.Request), signatures ...string) {
	r.t.Helper()
	request, err := http.NewRequest(http.MethodPost, "http://"+r.PublicAddr()+path, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header[lumin.SignatureHeader] = signatures
	for _, name := range []string{"User-Agent", "X-Forwarded-For", "X-Request-Id", "Referer", "Cookie", "Authorization"} {
		request.Header.Set(name, r.canaries["token"])
	}
	request.URL.RawQuery = "token=" + r.canaries["token"]
	if change != nil {
		change(request)
	}
	response, err := client.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, _ := io.ReadAll(response.Body)
	r.codes = append(r.codes, response.StatusCode)
	r.collect(fmt.Sprint("answer ", response.StatusCode), fmt.Sprint(response.Header, string(answer)))
}

// provokeAnswers provokes every answer that needs no outage. Those to a panic
// and to a slow body are in package ingest.
func (r *canaryRun) provokeAnswers() {
	r.t.Helper()
	c, now, key := r.canaries, time.Now(), r.canaries["account key"]
	const account = "/webhooks/account"
	deliver := func(body []byte) { r.send(account, body, nil, c.sign(body, key)) }
	approved := c.body("request-1", lumin.SignatureRequestApproved, now, "")
	deliver(approved)
	deliver(approved)
	deliver(c.body("request-1", lumin.SignatureRequestApproved, now, "other-")) // a conflict
	deliver([]byte(`{"event":"` + c["title"] + c["email"]))                     // unrecognized
	deliver(c.body("request-1", lumin.SignatureRequestDownloadable, now, ""))
	deliver(c.body("request-2", lumin.EventType("a_new_type"), now, ""))
	deliver(c.body("request-3", lumin.SignatureRequestSigned, now.Add(-72*time.Hour), ""))
	deliver(c.body("request-4", lumin.SignatureRequestSigned, now.Add(time.Hour), ""))
	r.send("/webhooks/apps/demo", approved, nil, c.sign(approved, c["app secret"]))
	for range 10 { // an alarm
		r.send(account, approved, nil, c.sign(approved, c["title"]))
	}
	r.send(account, approved, nil)
	r.send(account, approved, nil, c["account key"])
	r.send(account, approved, nil, c.sign(approved, key), c.sign(approved, key))
	r.send("/webhooks/apps/other", approved, nil, c.sign(approved, key))
	r.send("/"+c["token"], approved, nil, c.sign(approved, key))
	r.send(account, approved, func(request *http.Request) { request.Method = http.MethodPut }, c.sign(approved, key))
	r.send(account, approved, func(request *http.Request) { request.Header.Set("Content-Encoding", c["token"]) }, c.sign(approved, key))
	large := bytes.Repeat([]byte(c["title"]), 1<<16)
	r.send(account, large, nil, c.sign(large, key))
	for _, raw := range []string{
		fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nX-Signature: %s\r\nContent-Length: 500\r\n\r\n%s", account, c.sign(approved, key), c["title"]),
		fmt.Sprintf("POST %s?%s HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", account, c["token"], c["account key"]),
		fmt.Sprintf("%s %s\r\n\r\n", c["token"], c["title"]),
	} {
		r.sendRaw(raw)
	}
	for _, code := range []int{200, 400, 401, 404, 405, 413, 415} {
		if !slices.Contains(r.codes, code) {
			r.t.Errorf("nothing was answered %d: %v", code, r.codes)
		}
	}
}

// sendRaw sends bytes, ends the sending side, and collects the answer.
func (r *canaryRun) sendRaw(raw string) {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.PublicAddr())
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, raw)
	_ = conn.(*net.TCPConn).CloseWrite()
	answer, _ := io.ReadAll(bufio.NewReader(conn))
	r.collect("answer to a malformed request", string(answer))
}

// provokeOutage delivers while commits are cut, while a constraint refuses, and
// while the database is away.
func (r *canaryRun) provokeOutage() {
	r.t.Helper()
	c, now := r.canaries, time.Now()
	deliver := func(request, path, key string) {
		b := c.body(request, lumin.SignatureRequestSigned, now, "")
		r.send(path, b, nil, c.sign(b, key))
	}
	for _, fault := range []pgproxy.Fault{pgproxy.DropRequest, pgproxy.DropReply} {
		r.proxy.AtCommit(fault, 3)
		deliver("request-5", "/webhooks/account", c["account key"])
		r.proxy.AtCommit(pgproxy.Pass, 0)
	}
	db := pgtest.Conn(r.t, r.url)
	pgtest.Exec(r.t, db, `ALTER TABLE lumin.events ADD CONSTRAINT refusing CHECK (source = 'account') NOT VALID`)
	deliver("request-6", "/webhooks/apps/demo", c["app secret"])
	pgtest.Exec(r.t, db, `ALTER TABLE lumin.events DROP CONSTRAINT refusing`)
	if err := r.proxy.SetTarget("postgres://" + c["app secret"] + ":" + c["account key"] + "@127.0.0.1:1/none"); err != nil {
		r.t.Fatal(err)
	}
	r.proxy.Cut()
	deliver("request-7", "/webhooks/account", c["account key"])
	for _, path := range []string{"/readyz", "/metrics"} {
		_, text := get("http://" + r.AdminAddr() + path)
		r.collect(path+" without a database", text)
	}
	if !slices.Contains(r.codes, 503) {
		r.t.Errorf("nothing was answered 503: %v", r.codes)
	}
	if err := r.proxy.SetTarget(r.url); err != nil {
		r.t.Fatal(err)
	}
	r.proxy.Cut()
	r.waitReady()
}

// provokeFailures waits until every job type has failed.
func (r *canaryRun) provokeFailures() {
	r.t.Helper()
	db := pgtest.Conn(r.t, r.url)
	for _, kind := range []string{"leaky_error", "leaky_retry", "leaky_panic", "leaky_timeout", "leaky_fail", "leaky_snooze", "leaky_tx", "forward_crm", "archive_contract"} {
		eventually(r.t, 30*time.Second, kind+" has an error", func() bool {
			return number(r.t, db, `SELECT count(*) FROM lumin.runs WHERE job_kind = $1 AND error IS NOT NULL`, kind) > 0
		})
	}
	eventually(r.t, 30*time.Second, "leaky_cancel is cancelled", func() bool {
		return number(r.t, db, `SELECT count(*) FROM lumin.runs WHERE job_kind = 'leaky_cancel' AND state = 'cancelled'`) > 0
	})
}
