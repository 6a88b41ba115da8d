package service

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"lumin-ingest/admin/access"
	"lumin-ingest/internal/pgtest"
)

// ask sends a request to the admin listener and returns status, body and headers.
// headers are pairs; the header Host sets the host.
func (s *testService) ask(t *testing.T, method, path string, headers ...string) (status int, body string, header http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.AdminAddr()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for pair := range slices.Chunk(headers, 2) {
		if r.Header.Set(pair[0], pair[1]); pair[0] == "Host" {
			r.Host = pair[1]
		}
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text), answer.Header
}

// dashboardPaths has one path of each part of the dashboard.
func dashboardPaths() []string { return []string{"/", "/failures", "/api/v1/lanes", "/river/"} }

func TestDashboardOnLoopback(t *testing.T) {
	t.Parallel()
	s := startService(t, pgtest.New(t), func(*Config) {})
	s.waitReady(t)
	for _, path := range append(dashboardPaths(), "/healthz", "/readyz", "/metrics") {
		status, body, header := s.ask(t, http.MethodGet, path)
		if status != http.StatusOK {
			t.Errorf("%s is answered %d: %.300s", path, status, body)
		}
		for _, name := range []string{"Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy"} {
			if len(header.Values(name)) != 1 {
				t.Errorf("%s has %s %q", path, name, header.Values(name))
			}
		}
		// Monitors may use any name.
		status, _, _ = s.ask(t, http.MethodGet, path, "Host", "evil.example")
		if health := !slices.Contains(dashboardPaths(), path); (status == http.StatusOK) != health {
			t.Errorf("%s for another host is answered %d", path, status)
		}
	}
	for _, path := range []string{"/theme", "/api/v1/queues/pause", "/river/api/jobs/cancel", "/sign-out"} {
		if status, body, _ := s.ask(t, http.MethodPost, path, "Origin", "https://evil.example"); status != http.StatusForbidden || !strings.Contains(body, "cross_site") {
			t.Errorf("%s from another site is answered %d: %.300s", path, status, body)
		}
	}
}

func TestDashboardElsewhere(t *testing.T) {
	t.Parallel()
	s := startService(t, pgtest.New(t), func(cfg *Config) { cfg.Admin.HostPort = "0.0.0.0:0" })
	s.waitReady(t)
	for _, path := range dashboardPaths() {
		if status, body, _ := s.ask(t, http.MethodGet, path, "Accept", "text/html"); status != http.StatusForbidden || !strings.Contains(body, "ADMIN_TOKENS") {
			t.Errorf("%s is answered %d: %.300s", path, status, body)
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if status, body, _ := s.ask(t, http.MethodGet, path); status != http.StatusOK {
			t.Errorf("%s is answered %d: %.300s", path, status, body)
		}
	}
	if !strings.Contains(s.log.String(), "off: set ADMIN_TOKENS") {
		t.Errorf("log %s", s.log)
	}
}

// Tokens are read again while the program runs. A token is never logged.
func TestTokensOfDashboard(t *testing.T) {
	t.Parallel()
	secret, token := access.NewToken("ann", access.Read)
	otherSecret, other := access.NewToken("bob", access.Operate)
	file := []access.Token{token}
	s := startService(t, pgtest.New(t), func(cfg *Config) {
		cfg.Admin.HostPort = "0.0.0.0:0"
		cfg.AdminTokens = file
		cfg.ReadAdminTokens = func() ([]access.Token, error) { return file, nil }
		cfg.SourcesPoll, cfg.SourcesTimeout = time.Hour, time.Hour // the test calls look
	})
	s.waitReady(t)
	want := func(secret string, want int) {
		t.Helper()
		for _, path := range dashboardPaths() {
			if status, body, _ := s.ask(t, http.MethodGet, path, "Authorization", "Bearer "+secret); status != want {
				t.Errorf("%s is answered %d, want %d: %.300s", path, status, want, body)
			}
		}
	}
	want(secret, http.StatusOK)
	want(otherSecret, http.StatusUnauthorized)
	for _, path := range dashboardPaths() {
		if status, _, _ := s.ask(t, http.MethodGet, path); status != http.StatusUnauthorized {
			t.Errorf("%s without a token is answered %d", path, status)
		}
	}
	for path, headers := range map[string][]string{"/api/v1/queues/pause": {"Content-Type", "application/json"}, "/river/api/jobs/cancel": nil} {
		if status, body, _ := s.ask(t, http.MethodPost, path, append(headers, "Authorization", "Bearer "+secret)...); status != http.StatusForbidden {
			t.Errorf("%s with the role read is answered %d: %.300s", path, status, body)
		}
	}
	w := s.watchTokens()
	file = []access.Token{other}
	w.look(t.Context(), false)
	want(secret, http.StatusOK) // only one look has found it
	w.look(t.Context(), false)
	want(secret, http.StatusUnauthorized)
	want(otherSecret, http.StatusOK)
	for _, hidden := range []string{secret, otherSecret} {
		if strings.Contains(s.log.String(), hidden) {
			t.Error("a token is in the log")
		}
	}
	if !strings.Contains(s.log.String(), "the tokens of the dashboard have changed") {
		t.Errorf("log %s", s.log)
	}
}
