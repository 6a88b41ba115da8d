package tracing

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
)

// defaultEndpoint is where collectors listen for OTLP over HTTP.
const defaultEndpoint = "http://localhost:4318"

// environment reads OpenTelemetry's standard variables.
type environment func(name string) string

// FromEnvironment returns a Tracer as OpenTelemetry's standard variables say. It is
// nil, and so off, unless one of them names where spans go, or
// OTEL_TRACES_EXPORTER=otlp says that they go to a collector on this machine. program
// and version are the service.name and service.version, unless the variables say
// otherwise. The SDK itself reads OTEL_BSP_* and the limits of spans.
func FromEnvironment(get func(string) string, program, version string, logger *slog.Logger) (*Tracer, error) {
	env := environment(func(name string) string { return strings.TrimSpace(get(name)) })
	if !env.on() {
		return nil, nil //nolint:nilnil // nil is off
	}
	if exporter := env("OTEL_TRACES_EXPORTER"); exporter != "" && exporter != "otlp" {
		return nil, fmt.Errorf("OTEL_TRACES_EXPORTER is %q: give otlp or none", exporter)
	}
	if protocol := env.traces("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL is %q: give http/protobuf, which collectors receive on port 4318", protocol)
	}
	chosen, err := samplerOf(env("OTEL_TRACES_SAMPLER"), env("OTEL_TRACES_SAMPLER_ARG"))
	if err != nil {
		return nil, fmt.Errorf("%w: give a sampler of OpenTelemetry, such as parentbased_traceidratio with a number from 0 to 1", err)
	}
	client, err := env.client()
	if err != nil {
		return nil, err
	}
	about, err := resource.New(context.Background(),
		resource.WithAttributes(attribute.String("service.name", program), attribute.String("service.version", version)),
		resource.WithHost(), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, errors.New("OTEL_RESOURCE_ATTRIBUTES is invalid: write NAME=VALUE,NAME=VALUE")
	}
	exporter := otlptrace.NewUnstarted(client)
	if err := exporter.Start(context.Background()); err != nil {
		return nil, err
	}
	return New(Config{Exporter: &quiet{SpanExporter: exporter, logger: logger}, Sampler: chosen, Resource: about}), nil
}

// on reports whether spans go anywhere.
func (env environment) on() bool {
	switch {
	case strings.EqualFold(env("OTEL_SDK_DISABLED"), "true"), env("OTEL_TRACES_EXPORTER") == "none":
		return false
	}
	return env.traces("ENDPOINT") != "" || env("OTEL_TRACES_EXPORTER") != ""
}

// traces returns the variable for traces, or else the one for all signals.
func (env environment) traces(name string) string {
	return cmp.Or(env("OTEL_EXPORTER_OTLP_TRACES_"+name), env("OTEL_EXPORTER_OTLP_"+name))
}

// client returns the client of the collector. No error shows a value that may be
// secret.
func (env environment) client() (*otlpClient, error) {
	c := &otlpClient{header: http.Header{}, timeout: 10 * time.Second}
	var err error
	if c.endpoint, err = env.endpoint(); err != nil {
		return nil, err
	}
	if err := env.headers(c.header); err != nil {
		return nil, err
	}
	if text := env.traces("TIMEOUT"); text != "" {
		ms, err := strconv.Atoi(text)
		if err != nil || ms < 1 {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_TIMEOUT is %q: give milliseconds, such as 10000", text)
		}
		c.timeout = time.Duration(ms) * time.Millisecond
	}
	switch compression := env.traces("COMPRESSION"); compression {
	case "", "none":
	case "gzip":
		c.gzip = true
	default:
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_COMPRESSION is %q: give gzip or none", compression)
	}
	trust, err := env.tls()
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // the standard library's own
	transport.TLSClientConfig = trust
	c.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c, nil
}

// endpoint returns the URL that spans are posted to.
func (env environment) endpoint() (string, error) {
	name, path := "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""
	text := env(name)
	if text == "" {
		name, path = "OTEL_EXPORTER_OTLP_ENDPOINT", "/v1/traces"
		text = strings.TrimRight(cmp.Or(env(name), defaultEndpoint), "/")
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return "", fmt.Errorf("%s is not a URL of a collector: write it as %s", name, defaultEndpoint)
	}
	return text + path, nil
}

// headers reads NAME=VALUE,NAME=VALUE, in which values are percent-encoded.
func (env environment) headers(header http.Header) error {
	list := env.traces("HEADERS")
	if list == "" {
		return nil
	}
	for i, pair := range strings.Split(list, ",") {
		name, value, found := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !found || err != nil || strings.TrimSpace(name) == "" {
			return fmt.Errorf("OTEL_EXPORTER_OTLP_HEADERS: entry %d is not NAME=VALUE", i+1)
		}
		header.Set(strings.TrimSpace(name), value)
	}
	return nil
}

// tls returns whom to trust, and the certificate of this program.
func (env environment) tls() (*tls.Config, error) {
	trust := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := env.traces("CERTIFICATE"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, errors.New("OTEL_EXPORTER_OTLP_CERTIFICATE: the file cannot be read")
		}
		trust.RootCAs = x509.NewCertPool()
		if !trust.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("OTEL_EXPORTER_OTLP_CERTIFICATE: the file holds no certificate as PEM")
		}
	}
	cert, key := env.traces("CLIENT_CERTIFICATE"), env.traces("CLIENT_KEY")
	if cert == "" && key == "" {
		return trust, nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, errors.New("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY: the files do not hold a certificate and its key as PEM")
	}
	trust.Certificates = []tls.Certificate{pair}
	return trust, nil
}
