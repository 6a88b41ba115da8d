package tracing

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Tracer makes spans. nil is off.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// NoSpan returns a span that does nothing, in place of one that is not made. The
// span in a context would not do: it may belong to others, who end it.
func NoSpan() trace.Span { return trace.SpanFromContext(context.Background()) }

// Config configures a [Tracer].
type Config struct {
	Exporter sdktrace.SpanExporter // gets cleaned spans
	Sampler  sdktrace.Sampler      // nil: every event
	Resource *resource.Resource    // nil: that of the environment
	Sync     bool                  // spans reach the exporter when they end; for tests
}

// scope is the instrumentation scope of the program's own spans.
const scope = "lumin-ingest"

// New returns a Tracer that is on. The caller must shut it down.
func New(cfg Config) *Tracer {
	if cfg.Sampler == nil {
		cfg.Sampler = sdktrace.ParentBased(sdktrace.AlwaysSample())
	}
	options := []sdktrace.TracerProviderOption{sdktrace.WithIDGenerator(generator{}), sdktrace.WithSampler(sampler{cfg.Sampler})}
	if cfg.Resource != nil {
		options = append(options, sdktrace.WithResource(cfg.Resource))
	}
	if cfg.Sync {
		options = append(options, sdktrace.WithSyncer(cleaner{cfg.Exporter}))
	} else {
		options = append(options, sdktrace.WithBatcher(cleaner{cfg.Exporter})) // drops spans if its queue is full
	}
	t := &Tracer{provider: sdktrace.NewTracerProvider(options...)}
	t.tracer = t.provider.Tracer(scope)
	return t
}

// On reports whether spans are made.
func (t *Tracer) On() bool { return t != nil }

// Provider returns the provider, for the global one of a program. It must not be
// called on a nil Tracer.
func (t *Tracer) Provider() trace.TracerProvider { return t.provider }

// Shutdown sends the remaining spans, until ctx ends.
func (t *Tracer) Shutdown(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// Queries returns the tracer of the statements of a pool, which are part of the span
// in their context. Statements without one have no span. The spans show which kind
// of statement it was, but not its text, in which users may have put values. It is
// nil for a nil Tracer.
func (t *Tracer) Queries() pgx.QueryTracer {
	if t == nil {
		return nil
	}
	return otelpgx.NewTracer(
		otelpgx.WithTracerProvider(t.provider), otelpgx.WithDisableSQLStatementInAttributes(),
		otelpgx.WithDisableConnectionDetailsInAttributes(), otelpgx.WithSpanNameFunc(statementName),
	)
}

// Delivery is a verified delivery that was answered.
type Delivery struct {
	Key       [16]byte
	Source    string
	EventType string // "" if the event is unrecognized
	First     bool   // this delivery recorded the event
	Result    string // such as recorded or unavailable
	Status    int    // of the response
	EventID   int64  // 0: not known
	From, To  time.Time
	Header    http.Header // of the request, for its trace context
}

// Delivery makes the span of a delivery, from its header to its answer. The one that
// recorded the event is the first span of the event's trace.
func (t *Tracer) Delivery(d Delivery) {
	if t == nil {
		return
	}
	ctx := trace.ContextWithRemoteSpanContext(context.Background(), rootOf(d.Key))
	options := []trace.SpanStartOption{
		trace.WithTimestamp(d.From), trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(
			attribute.String("lumin.event_key", keyText(d.Key)), attribute.String("lumin.source", d.Source),
			attribute.String("lumin.event_type", d.EventType), attribute.String("lumin.result", d.Result),
			attribute.Int64("lumin.event_id", d.EventID), attribute.Int("http.response.status_code", d.Status),
		),
	}
	if d.First {
		ctx = context.WithValue(context.Background(), rootKey{}, d.Key)
		options = append(options, trace.WithNewRoot())
	}
	if caller := callerOf(d.Header); caller.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: caller}))
	}
	_, span := t.tracer.Start(ctx, "delivery", options...)
	if d.Status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, "")
	}
	span.End(trace.WithTimestamp(d.To))
}

// callerOf returns the trace context of a request. It is a link, because the caller
// does not decide about the event's trace.
func callerOf(header http.Header) trace.SpanContext {
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.HeaderCarrier(header))
	return trace.SpanContextFromContext(ctx)
}

// StartBatch starts the span of work for several events: a trace of its own.
func (t *Tracer) StartBatch(ctx context.Context, name string, size int) (context.Context, trace.Span) {
	if t == nil {
		return ctx, NoSpan()
	}
	return t.tracer.Start(ctx, name, trace.WithNewRoot(), trace.WithAttributes(attribute.Int("lumin.batch_size", size)))
}

// Recorded makes the span of the recording of an event, which is linked to the span
// of its batch.
func (t *Tracer) Recorded(key [16]byte, result string, from, to time.Time, batch trace.Span) {
	if t == nil {
		return
	}
	ctx := trace.ContextWithRemoteSpanContext(context.Background(), rootOf(key))
	_, span := t.tracer.Start(ctx, "record", trace.WithTimestamp(from), trace.WithLinks(trace.Link{SpanContext: batch.SpanContext()}),
		trace.WithAttributes(attribute.String("lumin.event_key", keyText(key)), attribute.String("lumin.result", result)))
	span.End(trace.WithTimestamp(to))
}

// Attempt is an attempt of a job.
type Attempt struct {
	Key      [16]byte // zero: a job without an event, in a trace of its own
	Kind     string
	Number   int
	ReplayID int64
	JobID    int64 // 0: the event is worked by the job of another event
	Queue    string
}

// StartAttempt starts the span of an attempt.
func (t *Tracer) StartAttempt(ctx context.Context, a Attempt) (context.Context, trace.Span) {
	if t == nil {
		return ctx, NoSpan()
	}
	attributes := []attribute.KeyValue{
		attribute.String("lumin.job_kind", a.Kind), attribute.Int("lumin.attempt", a.Number), attribute.Int64("lumin.job_id", a.JobID),
		attribute.String("lumin.queue", a.Queue),
	}
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer)}
	if other := trace.SpanContextFromContext(ctx); other.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: other}))
	}
	if a.Key == ([16]byte{}) {
		options = append(options, trace.WithNewRoot())
	} else {
		ctx = trace.ContextWithRemoteSpanContext(ctx, rootOf(a.Key))
		attributes = append(attributes, attribute.String("lumin.event_key", keyText(a.Key)), attribute.Int64("lumin.replay_id", a.ReplayID))
	}
	return t.tracer.Start(ctx, "attempt "+a.Kind, append(options, trace.WithAttributes(attributes...))...)
}

// Start starts a part of the span in ctx.
func (t *Tracer) Start(ctx context.Context, name string) (context.Context, trace.Span) {
	if t == nil {
		return ctx, NoSpan()
	}
	return t.tracer.Start(ctx, name)
}

// End ends a span with its outcome. failed marks it as an error. The text of an
// error stays in the log, which has the trace id.
func End(span trace.Span, outcome string, failed bool) {
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.String("lumin.outcome", outcome))
	if failed {
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// Fail marks a span as an error. Of an error it shows the SQLSTATE at most.
func Fail(span trace.Span, err error) {
	if err == nil || !span.IsRecording() {
		return
	}
	description := ""
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		description = "SQLSTATE " + refused.Code
	}
	span.SetStatus(codes.Error, description)
}

// LogAttrs returns trace_id for a line of the log. It is empty without a span in ctx.
func (t *Tracer) LogAttrs(ctx context.Context) []slog.Attr {
	if t == nil {
		return nil
	}
	span := trace.SpanContextFromContext(ctx)
	if !span.IsValid() {
		return nil
	}
	return []slog.Attr{slog.String("trace_id", span.TraceID().String())}
}

// Logger adds trace_id to a logger.
func (t *Tracer) Logger(ctx context.Context, logger *slog.Logger) *slog.Logger {
	for _, attr := range t.LogAttrs(ctx) {
		logger = logger.With(attr)
	}
	return logger
}
