package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"lumin-ingest/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	return request(h, http.MethodGet, path)
}

func request(h http.Handler, method, path string) *httptest.ResponseRecorder {
	response := httptest.NewRecorder()
	h.ServeHTTP(response, httptest.NewRequest(method, path, nil))
	return response
}

func passes(context.Context) error { return nil }

func fails(text string) func(context.Context) error {
	return func(context.Context) error { return errors.New(text) }
}

// wantReady checks the status and the whole body of /readyz.
func wantReady(t *testing.T, h http.Handler, status int, want string) {
	t.Helper()
	response := get(h, "/readyz")
	if got := strings.TrimSuffix(response.Body.String(), "\n"); response.Code != status || got != want {
		t.Errorf("answered %d %s\nwant %d %s", response.Code, got, status, want)
	}
	if header := response.Header(); header.Get("Content-Type") != "application/json" || header.Get("Cache-Control") != "no-store" {
		t.Errorf("header %v", header)
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	verified := time.Date(2026, 1, 2, 4, 4, 5, 0, time.FixedZone("", 3600))
	h := admin.New(admin.Config{
		Ready: []admin.Check{{"database", passes}, {"schema", passes}},
		Sources: func() []admin.SourceLine {
			return []admin.SourceLine{{"account", verified, 0}, {"app:demo", time.Time{}, 12}}
		},
	})
	wantReady(t, h, 200, `{"status":"ready","checks":[{"name":"database","ok":true},{"name":"schema","ok":true}],`+
		`"sources":[{"source":"account","last_verified":"2026-01-02T03:04:05Z","mismatches_since_verified":0},`+
		`{"source":"app:demo","last_verified":null,"mismatches_since_verified":12}]}`)
	warned := admin.New(admin.Config{Warnings: func() []string { return []string{"queue slow: all 2 workers are held"} }})
	wantReady(t, warned, 200, `{"status":"ready","checks":[],"sources":[],"warnings":["queue slow: all 2 workers are held"]}`)
	wantReady(t, admin.New(admin.Config{}), 200, `{"status":"ready","checks":[],"sources":[]}`)
	if response := request(h, http.MethodHead, "/readyz"); response.Code != 200 {
		t.Errorf("HEAD: %d", response.Code)
	}
}

func TestNotReady(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		checks []admin.Check
		want   string
	}{
		{"the last", []admin.Check{{"database", passes}, {"schema", fails("version 1 of 2: run migrate up")}},
			`{"name":"database","ok":true},{"name":"schema","ok":false,"error":"version 1 of 2: run migrate up"}`},
		{"the first", []admin.Check{{"database", fails("connection refused")}, {"schema", passes}},
			`{"name":"database","ok":false,"error":"connection refused"},{"name":"schema","ok":true}`},
		{"both", []admin.Check{{"a", fails("x")}, {"b", fails("y")}},
			`{"name":"a","ok":false,"error":"x"},{"name":"b","ok":false,"error":"y"}`},
		{"a panic", []admin.Check{{"a", func(context.Context) error { panic("secret") }}, {"b", passes}},
			`{"name":"a","ok":false,"error":"the check panicked; see the log for details"},{"name":"b","ok":true}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := admin.New(admin.Config{Ready: test.checks})
			wantReady(t, h, 503, `{"status":"not_ready","checks":[`+test.want+`],"sources":[]}`)
			// The process is alive even if it is not ready.
			if response := get(h, "/healthz"); response.Code != 200 || strings.TrimSpace(response.Body.String()) != `{"status":"ok"}` {
				t.Errorf("/healthz: %d %s", response.Code, response.Body)
			}
		})
	}
}

// Checks run concurrently with three seconds each. A check that ignores its
// context does not delay the response.
func TestSlowChecks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		forever := make(chan struct{})
		h := admin.New(admin.Config{Ready: []admin.Check{
			{"quick", passes},
			{"obedient", func(ctx context.Context) error { <-ctx.Done(); return fmt.Errorf("ping: %w", ctx.Err()) }},
			{"in time", func(context.Context) error { time.Sleep(3*time.Second - 1); return nil }},
			{"stuck", func(context.Context) error { <-forever; return nil }},
		}})
		start := time.Now()
		wantReady(t, h, 503, `{"status":"not_ready","checks":[{"name":"quick","ok":true},`+
			`{"name":"obedient","ok":false,"error":"no answer within 3s: ping"},`+
			`{"name":"in time","ok":true},{"name":"stuck","ok":false,"error":"no answer within 3s"}],"sources":[]}`)
		if took := time.Since(start); took > 3500*time.Millisecond {
			t.Errorf("took %v", took)
		}
		close(forever)
	})
}

// Monitoring systems request /readyz every few seconds, so only changes are
// logged.
func TestReadinessIsLoggedOnce(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	var state error
	asked := 0
	h := admin.New(admin.Config{
		Ready: []admin.Check{{"database", func(context.Context) error {
			asked++
			if state == nil {
				return nil
			}
			return fmt.Errorf("%w, %d", state, asked) // a different text each time
		}}},
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})),
	})
	for _, state = range []error{errors.New("away"), errors.New("away"), nil, nil, errors.New("gone")} {
		get(h, "/readyz")
	}
	const want = `level=WARN msg="not ready" failed="[database: away, 1]"
level=INFO msg=ready
level=WARN msg="not ready" failed="[database: gone, 5]"
`
	if log.String() != want {
		t.Errorf("logged\n%swant\n%s", &log, want)
	}
}

// An answer that refers to the log has a line there, without personal data.
func TestErrorsOfDashboard(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	h := admin.New(admin.Config{Logger: slog.New(slog.NewTextHandler(&log, nil)), Dashboard: func(e *echo.Echo) {
		e.GET("/broken/:id", func(echo.Context) error { return errors.New("no row for ada@example.com") })
	}})
	if response := get(h, "/broken/ada@example.com"); response.Code != 500 || strings.Contains(response.Body.String(), "ada") {
		t.Errorf("%d %s", response.Code, response.Body)
	}
	if !strings.Contains(log.String(), "path=/broken/:id error=\"no row for [address]\"") || strings.Contains(log.String(), "ada") {
		t.Errorf("log %s", log.String())
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	h := admin.New(admin.Config{
		Gatherer: prometheus.NewRegistry(),
		Sources:  func() []admin.SourceLine { panic("secret") },
	})
	for _, test := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/nowhere", 404, "not_found"},
		{"GET", "/", 404, "not_found"},
		{"POST", "/healthz", 405, "method_not_allowed"},
		{"DELETE", "/readyz", 405, "method_not_allowed"},
		{"POST", "/metrics", 405, "method_not_allowed"},
		{"GET", "/readyz", 500, "internal_error"},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			t.Parallel()
			response := request(h, test.method, test.path)
			var p struct {
				Type, Title, Code, Detail string
				Status                    int
			}
			if err := json.Unmarshal(response.Body.Bytes(), &p); err != nil {
				t.Fatal(err)
			}
			if response.Code != test.status || p.Status != test.status || p.Code != test.code || p.Type != "about:blank" ||
				p.Title != http.StatusText(test.status) || p.Detail == "" || strings.Contains(p.Detail, "secret") {
				t.Errorf("%d %+v", response.Code, p)
			}
			if got := response.Header().Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("Content-Type %q", got)
			}
			if got := response.Header().Get("Allow"); strings.Contains(got, "GET") != (test.status == 405) {
				t.Errorf("Allow %q", got)
			}
		})
	}
	t.Run("no gatherer", func(t *testing.T) {
		t.Parallel()
		if response := get(admin.New(admin.Config{}), "/metrics"); response.Code != 404 {
			t.Errorf("%d", response.Code)
		}
	})
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name         string
		pendingAge   func(context.Context) (time.Duration, error)
		want, absent string
	}{
		{"some pending", func(context.Context) (time.Duration, error) { return 1500 * time.Millisecond, nil },
			"lumin_database_up 1\n lumin_oldest_pending_run_age_seconds 1.5\n", ""},
		{"none pending", func(context.Context) (time.Duration, error) { return 0, nil },
			"lumin_database_up 1\n lumin_oldest_pending_run_age_seconds 0\n", ""},
		{"database away", func(context.Context) (time.Duration, error) { return 0, errors.New("away") },
			"lumin_database_up 0\n", "lumin_oldest_pending_run_age_seconds"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			page := scrape(t, test.pendingAge)
			for want := range strings.Lines(test.want) {
				if !strings.Contains(page, "\n"+strings.TrimSpace(want)+"\n") {
					t.Errorf("no %q in\n%s", want, page)
				}
			}
			if test.absent != "" && strings.Contains(page, test.absent) {
				t.Errorf("%s is in\n%s", test.absent, page)
			}
			if !strings.Contains(page, "\nother 1\n") {
				t.Errorf("other metrics are missing in\n%s", page)
			}
		})
	}
	t.Run("database silent", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			page := scrape(t, func(ctx context.Context) (time.Duration, error) {
				<-ctx.Done()
				return 0, ctx.Err()
			})
			if took := time.Since(start); took != 2*time.Second {
				t.Errorf("took %v", took)
			}
			if !strings.Contains(page, "\nlumin_database_up 0\n") || !strings.Contains(page, "\nother 1\n") {
				t.Error(page)
			}
		})
	})
}

// scrape returns the page of a registry with a run collector and one other
// metric.
func scrape(t *testing.T, pendingAge func(context.Context) (time.Duration, error)) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	other := prometheus.NewGauge(prometheus.GaugeOpts{Name: "other"})
	other.Set(1)
	registry.MustRegister(admin.NewRunCollector(pendingAge), other)
	response := get(admin.New(admin.Config{Gatherer: registry}), "/metrics")
	if response.Code != 200 || !strings.HasPrefix(response.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("%d %v", response.Code, response.Header())
	}
	return "\n" + response.Body.String()
}
