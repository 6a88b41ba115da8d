package tracing_test

import (
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"lumin-ingest/internal/testlog"
	"lumin-ingest/internal/tracing"
)

// collector is a receiver of OTLP over HTTP.
type collector struct {
	*httptest.Server
	mu      sync.Mutex
	answers []int // of the next requests; then 200
	heads   []http.Header
	paths   []string
	names   []string // of the spans
	about   map[string]string
}

func newCollector(t *testing.T, answers ...int) *collector {
	t.Helper()
	c := &collector{answers: answers, about: map[string]string{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.heads, c.paths = append(c.heads, r.Header), append(c.paths, r.URL.Path)
		if len(c.answers) > 0 {
			answer := c.answers[0]
			c.answers = c.answers[1:]
			if answer != http.StatusOK {
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(answer)
				return
			}
		}
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			var err error
			if body, err = gzip.NewReader(r.Body); err != nil {
				t.Error(err)
				return
			}
		}
		bytes, err := io.ReadAll(body)
		var data tracepb.TracesData
		if err == nil {
			err = proto.Unmarshal(bytes, &data)
		}
		if err != nil {
			t.Error(err)
		}
		for _, rs := range data.GetResourceSpans() {
			for _, a := range rs.GetResource().GetAttributes() {
				c.about[a.GetKey()] = a.GetValue().GetStringValue()
			}
			for _, ss := range rs.GetScopeSpans() {
				for _, s := range ss.GetSpans() {
					c.names = append(c.names, s.GetName())
				}
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func fromEnvironment(t *testing.T, logger *slog.Logger, settings ...string) (*tracing.Tracer, error) {
	t.Helper()
	env := map[string]string{}
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		env[name] = value
	}
	return tracing.FromEnvironment(func(name string) string { return env[name] }, "my-program", "v1.2", logger)
}

func TestOffByDefault(t *testing.T) {
	t.Parallel()
	for _, settings := range []string{
		"", "OTEL_SERVICE_NAME=x", "OTEL_TRACES_SAMPLER=always_on", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1 OTEL_SDK_DISABLED=true",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1 OTEL_TRACES_EXPORTER=none",
	} {
		if tracer, err := fromEnvironment(t, nil, strings.Fields(settings)...); tracer.On() || err != nil {
			t.Errorf("%q: on %v, %v", settings, tracer.On(), err)
		}
	}
}

func TestRefusedEnvironment(t *testing.T) {
	t.Parallel()
	for settings, want := range map[string]string{
		"OTEL_TRACES_EXPORTER=zipkin":                                "give otlp or none",
		"OTEL_EXPORTER_OTLP_PROTOCOL=grpc":                           "give http/protobuf",
		"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318":                 "OTEL_EXPORTER_OTLP_ENDPOINT is not a URL",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=ftp://x":                 "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is not a URL",
		"OTEL_TRACES_SAMPLER=sometimes":                              "OTEL_TRACES_SAMPLER is \"sometimes\"",
		"OTEL_TRACES_SAMPLER=traceidratio OTEL_TRACES_SAMPLER_ARG=2": "OTEL_TRACES_SAMPLER_ARG is \"2\"",
		"OTEL_EXPORTER_OTLP_HEADERS=verysecret":                      "entry 1 is not NAME=VALUE",
		"OTEL_EXPORTER_OTLP_TIMEOUT=10s":                             "give milliseconds",
		"OTEL_EXPORTER_OTLP_COMPRESSION=zstd":                        "give gzip or none",
		"OTEL_EXPORTER_OTLP_CERTIFICATE=/does/not/exist":             "the file cannot be read",
		"OTEL_EXPORTER_OTLP_CERTIFICATE=environment_test.go":         "holds no certificate",
		"OTEL_EXPORTER_OTLP_CLIENT_KEY=environment_test.go":          "certificate and its key",
	} {
		_, err := fromEnvironment(t, nil, append([]string{"OTEL_TRACES_EXPORTER=otlp"}, strings.Fields(settings)...)...)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", settings, err, want)
		}
	}
}

// Spans arrive, also after the collector was busy for a moment.
func TestExport(t *testing.T) {
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "service.version=v9,deployment=test") // the SDK reads it
	c := newCollector(t, http.StatusServiceUnavailable)
	tracer, err := fromEnvironment(t, slog.New(slog.DiscardHandler), "OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL+"/base/",
		"OTEL_EXPORTER_OTLP_HEADERS=Authorization=Bearer%20abc, x-team = sign", "OTEL_EXPORTER_OTLP_COMPRESSION=gzip")
	if err != nil {
		t.Fatal(err)
	}
	tracer.Delivery(tracing.Delivery{Key: key, First: true})
	if err := tracer.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if strings.Join(c.names, " ") != "delivery" || strings.Join(c.paths, " ") != "/base/v1/traces /base/v1/traces" {
		t.Errorf("%v at %v", c.names, c.paths)
	}
	if h := c.heads[1]; h.Get("Authorization") != "Bearer abc" || h.Get("X-Team") != "sign" || h.Get("Content-Type") != "application/x-protobuf" {
		t.Errorf("%v", h)
	}
	if c.about["service.name"] != "my-program" || c.about["service.version"] != "v9" || c.about["deployment"] != "test" || c.about["host.name"] == "" {
		t.Errorf("%v", c.about)
	}
}

// A collector that refuses or is gone is logged once, without its URL.
func TestCollectorGone(t *testing.T) {
	t.Parallel()
	c := newCollector(t, http.StatusUnauthorized)
	log := &testlog.Buffer{}
	tracer, err := fromEnvironment(t, slog.New(slog.NewJSONHandler(log, nil)), "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="+c.URL+"/v1/verysecret")
	if err != nil {
		t.Fatal(err)
	}
	tracer.Delivery(tracing.Delivery{Key: key, First: true})
	if err := tracer.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	lines := log.Entries(t, "cannot send traces; the program goes on, and these spans are lost")
	if len(lines) != 1 || lines[0]["error"] != "traces export: the collector answered 401 Unauthorized" || strings.Contains(log.String(), "secret") {
		t.Errorf("%s", log)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if strings.Join(c.paths, " ") != "/v1/verysecret" {
		t.Errorf("%v", c.paths)
	}
}
