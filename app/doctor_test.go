package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/pgdev"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/doctor"
)

// verdicts formats findings as "check verdict".
func verdicts(findings ...finding) string {
	var all []string
	for _, f := range findings {
		if (f.Verdict == ok) != (f.Remedy == "") {
			all = append(all, "WITH OR WITHOUT REMEDY:")
		}
		all = append(all, f.Check+" "+string(f.Verdict))
	}
	return strings.Join(all, ", ")
}

func TestExamineServer(t *testing.T) {
	t.Parallel()
	sound := doctor.Server{Version: "15.4", VersionNumber: 150004, Encoding: "UTF8", Fsync: "on", FullPageWrites: "on", SynchronousCommit: "on"}
	const allOK = "version ok, encoding ok, fsync ok, full_page_writes ok, synchronous_commit ok"
	for _, c := range []struct {
		change func(*doctor.Server)
		check  string
		want   verdict
	}{
		{func(*doctor.Server) {}, "version", ok},
		{func(s *doctor.Server) { s.VersionNumber = 140000 }, "version", ok},
		{func(s *doctor.Server) { s.VersionNumber = 130012 }, "version", failure},
		{func(s *doctor.Server) { s.Encoding = "SQL_ASCII" }, "encoding", failure},
		{func(s *doctor.Server) { s.Fsync = "off" }, "fsync", failure},
		{func(s *doctor.Server) { s.FullPageWrites = "off" }, "full_page_writes", failure},
		{func(s *doctor.Server) { s.SynchronousCommit = "off" }, "synchronous_commit", failure},
		{func(s *doctor.Server) { s.SynchronousCommit, s.StandbyNames = "off", "a" }, "synchronous_commit", failure},
		{func(s *doctor.Server) { s.SynchronousCommit = "local" }, "synchronous_commit", ok},
		{func(s *doctor.Server) { s.SynchronousCommit = "remote_write" }, "synchronous_commit", ok},
		{func(s *doctor.Server) { s.StandbyNames = "a" }, "synchronous_commit", ok},
		{func(s *doctor.Server) { s.SynchronousCommit, s.StandbyNames = "remote_apply", "a" }, "synchronous_commit", ok},
		{func(s *doctor.Server) { s.SynchronousCommit, s.StandbyNames = "local", "a" }, "synchronous_commit", warning},
		{func(s *doctor.Server) { s.SynchronousCommit, s.StandbyNames = "remote_write", "a" }, "synchronous_commit", warning},
	} {
		server := sound
		c.change(&server)
		want := strings.Replace(allOK, c.check+" ok", c.check+" "+string(c.want), 1)
		if got := verdicts(examineServer(server)...); got != want {
			t.Errorf("%+v: %s, want %s", server, got, want)
		}
	}
}

func TestExamineSessions(t *testing.T) {
	t.Parallel()
	p := pgtest.Proxy(t, pgtest.NewEmpty(t))
	pool := pgtest.Pool(t, p.URL())
	if got := verdicts(examineSessions(t.Context(), pool)...); got != "" {
		t.Error(got)
	}
	p.ActAsPooler()
	if got := verdicts(examineSessions(t.Context(), pool)...); got != "sessions warning" {
		t.Error(got)
	}
}

func TestExamineClock(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		offset, within time.Duration
		want           verdict
	}{
		{0, time.Millisecond, ok},
		{time.Second, time.Millisecond, ok},
		{1100 * time.Millisecond, time.Millisecond, warning},
		{-1100 * time.Millisecond, time.Millisecond, warning},
		{2 * time.Second, 1100 * time.Millisecond, ok}, // it may be less than one
		{61 * time.Second, time.Millisecond, failure},
		{-2 * time.Hour, time.Second, failure},
	} {
		if got := verdicts(examineClock(c.offset, c.within)); got != "clock "+string(c.want) {
			t.Errorf("%s, give or take %s: %s, want %s", c.offset, c.within, got, c.want)
		}
	}
}

func TestExaminePrograms(t *testing.T) {
	t.Parallel()
	program := func(role string, kinds ...string) catalog.Program {
		return catalog.Program{Host: "host-" + role, Role: role, Kinds: kinds}
	}
	for _, c := range []struct {
		programs   []catalog.Program
		registered []string
		want, says string
	}{
		{nil, []string{"a"}, "programs warning", "none is running"},
		{[]catalog.Program{program("all", "a")}, []string{"a"}, "programs ok, job types ok", "all 1 are registered"},
		{[]catalog.Program{program("ingest", "a"), program("worker", "a")}, []string{"a"}, "programs ok, job types ok", "1 receive, 1 work"},
		{[]catalog.Program{program("worker", "a")}, []string{"a"}, "programs warning, job types ok", "0 receive"},
		{[]catalog.Program{program("ingest", "a")}, []string{"a"}, "programs warning", "0 work"},
		{[]catalog.Program{program("ingest", "a"), program("worker", "a", "b")}, []string{"a", "b"}, "programs ok, job types warning", "host-ingest (process 0) receives deliveries and lacks b"},
		{[]catalog.Program{program("all", "a")}, []string{"a", "gone"}, "programs ok, job types warning", "no running program works gone"},
	} {
		findings := examinePrograms(c.programs, c.registered)
		if got := verdicts(findings...); got != c.want || !strings.Contains(fmt.Sprint(findings), c.says) {
			t.Errorf("%v of %v: %v, want %s and %q", c.programs, c.registered, findings, c.want, c.says)
		}
	}
}

// doctor exits with 0 only if every check is ok.
func TestDoctorFindsNothing(t *testing.T) {
	t.Parallel()
	server, err := pgdev.Start(t.Context(), pgdev.Config{Durable: true}) // that of the other tests has fsync off
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := migrations.Up(t.Context(), server.URL()); err != nil {
		t.Fatal(err)
	}
	prepareTestJobs(t, server.URL())
	i := startInstance(t, server.URL())
	i.waitReady(t)
	db := connect(t, server.URL())
	eventually(t, 30*time.Second, "the program is seen", func() bool { return number(t, db, `SELECT count(*) FROM lumin.programs`) == 1 })

	var out, errs bytes.Buffer
	code := run(t.Context(), []string{
		"doctor", "--output", "json", "--database-url", server.URL(), "--public-url", "http://" + i.PublicAddr(),
		"--lumin-account-api-keys", accountKey, "--lumin-app-secrets", "demo=" + appSecret + ",other=" + appSecret,
	}, streams{out: &out, err: &errs}, testJobTypes)
	const want = "connection ok, version ok, encoding ok, fsync ok, full_page_writes ok, synchronous_commit ok, clock ok, schema ok, " +
		"programs ok, job types ok, connections ok, queue ok, runs ok, conflicts ok, late events ok, unrecognized ok, public URL warning, webhook account ok, webhook app:demo ok, webhook app:other failure"
	if got := verdicts(decodeFindings(t, &out)...); got != want || code != 1 {
		t.Errorf("%s, code %d\nwant %s", got, code, want)
	}
	if said := errs.String(); !strings.Contains(said, "1 check has failed") || len(leaks(said+out.String())) > 0 {
		t.Errorf("said %s", said)
	}

	out.Reset()
	if code := run(t.Context(), []string{"doctor", "--database-url", server.URL()}, streams{out: &out, err: &errs}, testJobTypes); code != 0 || strings.Contains(out.String(), "failure") {
		t.Errorf("code %d: %s", code, &out)
	}
}

func decodeFindings(t *testing.T, out *bytes.Buffer) (findings []finding) {
	t.Helper()
	for decoder := json.NewDecoder(out); decoder.More(); {
		var f finding
		if err := decoder.Decode(&f); err != nil {
			t.Fatal(err)
		}
		findings = append(findings, f)
	}
	return findings
}

// The probe distinguishes the servers that may answer in place of the program.
func TestProbe(t *testing.T) {
	t.Parallel()
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost || r.ContentLength != 0 || r.URL.Path != "/base/webhooks/apps/crm" || r.Header.Get("X-Signature") != "" {
				t.Errorf("%s %s, %d bytes, %v", r.Method, r.URL, r.ContentLength, r.Header)
			}
			w.Header().Set("Location", "https://elsewhere.example.com/there?token=canary")
			w.WriteHeader(status)
			_, _ = fmt.Fprint(w, body)
		}
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    verdict
		says    string
	}{
		"as expected":          {answer(401, `{"code":"signature_missing"}`), ok, "401 signature_missing"},
		"no such source":       {answer(404, `{"code":"unknown_source"}`), failure, "no secret"},
		"a login":              {answer(401, `Who are you?`), failure, "asks for a login"},
		"another path":         {answer(404, `not found`), failure, "unchanged"},
		"a redirect":           {answer(308, ``), failure, "redirect to https://elsewhere.example.com/there"},
		"no program behind it": {answer(502, `<html>`), failure, "gets no answer"},
		"accepts everything":   {answer(200, `{"code":"signature_missing"}`), failure, "would be lost"},
		"a teapot":             {answer(418, `[]`), failure, "another program"},
		"without end":          {answer(401, `{"code":"signature_missing"}`+strings.Repeat(" ", 10<<20)+"x"), ok, "401"},
		"cut off":              {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, failure, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(c.handler)
			defer server.Close()
			public, err := url.Parse(server.URL + "/base")
			if err != nil {
				t.Fatal(err)
			}
			findings := examinePublic(t.Context(), public, map[string][]string{"app:crm": nil})
			said := fmt.Sprint(findings)
			if got := verdicts(findings...); got != "public URL warning, webhook app:crm "+string(c.want) || !strings.Contains(said, c.says) || strings.Contains(said, "canary") {
				t.Errorf("%v", findings)
			}
		})
	}
}

// The probe follows no redirect, even if the target would give the right
// answer: Lumin does not follow redirects either.
func TestProbeRedirected(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/webhooks/account" {
					http.Redirect(w, r, "/there/webhooks/account?token=canary", status)
					return
				}
				t.Errorf("followed by %s %s", r.Method, r.URL.Path)
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = fmt.Fprint(w, `{"code":"signature_missing"}`)
			}))
			defer server.Close()
			got, found, remedy := probe(t.Context(), server.URL+"/webhooks/account")
			want := fmt.Sprintf("answered %d, a redirect to %s/there/webhooks/account", status, server.URL)
			if got != failure || found != want || !strings.Contains(remedy, "give Lumin and PUBLIC_URL the address") {
				t.Errorf("%s: %s, %s", got, found, remedy)
			}
		})
	}
}

func TestProbeWithoutAnswer(t *testing.T) {
	t.Parallel()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	hung := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hung }))
	defer silent.Close()
	defer close(hung)
	// No program can listen on the local port of an open connection.
	held, err := net.Dial("tcp", silent.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	// A shorter timeout than that of the other probes, which must answer in
	// time.
	late, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	for _, c := range []struct {
		ctx           context.Context
		address, says string
	}{
		{t.Context(), secure.URL, "fix the certificate"},
		{t.Context(), "http://" + held.LocalAddr().String(), "connection refused"},
		{late, silent.URL, "no answer within"},
	} {
		got, found, remedy := probe(c.ctx, c.address)
		if got != failure || !strings.Contains(found+remedy, c.says) {
			t.Errorf("%s: %s %s %s", c.address, got, found, remedy)
		}
	}
}

func TestPublicURL(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"hooks.example.com", "ftp://hooks.example.com", "https://", "https://ann:canary_password@hooks.example.com", "https://h/?a=b", "https://h/#a", "://"} {
		if u, err := publicURL(text); err == nil || len(leaks(err.Error())) > 0 {
			t.Errorf("%s: %v, %v", text, u, err)
		}
	}
	for text, want := range map[string]verdict{"http://hooks.example.com": failure, "http://localhost.example.com": failure} {
		public, err := publicURL(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := verdicts(examinePublic(t.Context(), public, nil)...); got != "public URL "+string(want) {
			t.Errorf("%s: %s", text, got)
		}
	}
	for _, host := range []string{"127.0.0.1", "::1", "localhost"} {
		if !isLoopback(host) {
			t.Errorf("%s is not taken for this machine", host)
		}
	}
}
