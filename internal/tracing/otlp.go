package tracing

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"lumin-ingest/internal/errtext"
)

const (
	// tries is how often spans are sent at most, with pauses of 1 s and 2 s unless the
	// collector names one.
	tries     = 3
	basePause = time.Second
	maxPause  = 30 * time.Second

	// maxReply is how much of a reply is read, so that its connection can be used
	// again.
	maxReply = 64 << 10
)

// otlpClient posts spans to a collector: OTLP over HTTP, as protobuf. The exporter of
// OpenTelemetry for this brings gRPC into the program.
type otlpClient struct {
	endpoint string
	header   http.Header
	timeout  time.Duration // of one try
	gzip     bool
	http     *http.Client
}

// Start implements otlptrace.Client.
func (*otlpClient) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (c *otlpClient) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces implements otlptrace.Client. On the wire, a TracesData is an
// ExportTraceServiceRequest: both have one field, with the same number.
func (c *otlpClient) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return fmt.Errorf("encode spans: %w", err)
	}
	if c.gzip {
		body = compress(body)
	}
	pause := basePause
	for try := 1; ; try++ {
		wait, err := c.post(ctx, body)
		if err == nil || wait < 0 || try == tries {
			return err
		}
		if wait == 0 {
			wait, pause = pause, 2*pause
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

func compress(body []byte) []byte {
	var buffer bytes.Buffer
	writer := gzip.NewWriter(&buffer)
	_, _ = writer.Write(body) // writing to a buffer cannot fail
	_ = writer.Close()
	return buffer.Bytes()
}

// post sends spans once. After an error, wait is the pause before the next try: 0 if
// the collector names none, and below 0 if another try would not help.
func (c *otlpClient) post(ctx context.Context, body []byte) (wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint, bytes.NewReader(body))
	if err != nil {
		return -1, errors.New("the endpoint is invalid")
	}
	request.Header = c.header.Clone()
	request.Header.Set("Content-Type", "application/x-protobuf")
	if c.gzip {
		request.Header.Set("Content-Encoding", "gzip")
	}
	response, err := c.http.Do(request)
	if err != nil {
		var wrapped *url.Error // shows the URL
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return 0, errors.New(errtext.OneLine(err))
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, maxReply)
	switch response.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return retryAfter(response.Header), answered(response)
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return -1, answered(response)
	}
	return 0, nil
}

func answered(response *http.Response) error {
	return fmt.Errorf("the collector answered %d %s", response.StatusCode, http.StatusText(response.StatusCode))
}

// retryAfter returns the pause that a collector asks for in seconds; 0 if it does not.
func retryAfter(header http.Header) time.Duration {
	seconds, err := strconv.Atoi(header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxPause)
}

// quiet logs when sending begins to fail, and when it works again. Spans that could
// not be sent are lost.
type quiet struct {
	sdktrace.SpanExporter
	logger *slog.Logger

	mu     sync.Mutex
	failed bool
}

// ExportSpans implements sdktrace.SpanExporter.
func (q *quiet) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := q.SpanExporter.ExportSpans(ctx, spans)
	q.mu.Lock()
	changed := (err != nil) != q.failed
	q.failed = err != nil
	q.mu.Unlock()
	switch {
	case !changed:
	case err != nil:
		q.logger.Warn("cannot send traces; the program goes on, and these spans are lost", "error", errtext.OneLine(err), "spans", len(spans))
	default:
		q.logger.Info("traces are sent again")
	}
	return nil
}
