package tracing_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"lumin-ingest/internal/pgopen"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/tracing"
)

var key = [16]byte{1, 2, 3}

func newTracer(t *testing.T, sampler sdktrace.Sampler) (*tracing.Tracer, *tracetest.InMemoryExporter) {
	t.Helper()
	spans := tracetest.NewInMemoryExporter()
	tracer := tracing.New(tracing.Config{Exporter: spans, Sampler: sampler, Sync: true})
	t.Cleanup(func() { _ = tracer.Shutdown(context.Background()) })
	return tracer, spans
}

// Two processes that know nothing of each other make one trace of an event.
func TestOneTrace(t *testing.T) {
	t.Parallel()
	recording, first := newTracer(t, nil)
	working, second := newTracer(t, nil)
	now := time.Now()
	header := http.Header{"Traceparent": {"00-11111111111111111111111111111111-2222222222222222-01"}}
	recording.Delivery(tracing.Delivery{Key: key, Source: "account", First: true, Result: "recorded", Status: 200, From: now, To: now.Add(time.Second), Header: header})
	recording.Delivery(tracing.Delivery{Key: key, Source: "account", Result: "unavailable", Status: 503, From: now, To: now})
	_, span := working.StartAttempt(t.Context(), tracing.Attempt{Key: key, Kind: "book", Number: 2, ReplayID: 3})
	tracing.End(span, "failed", true)

	delivery, repeated, attempt := first.GetSpans()[0], first.GetSpans()[1], second.GetSpans()[0]
	if delivery.SpanContext.TraceID() != tracing.TraceID(key) || delivery.Parent.IsValid() || len(delivery.Links) != 1 ||
		delivery.Links[0].SpanContext.TraceID().String() != "11111111111111111111111111111111" || delivery.EndTime.Sub(delivery.StartTime) != time.Second {
		t.Errorf("%+v", delivery)
	}
	for _, s := range []tracetest.SpanStub{repeated, attempt} {
		if s.SpanContext.TraceID() != tracing.TraceID(key) || s.Parent.SpanID() != delivery.SpanContext.SpanID() || s.SpanContext.SpanID() == delivery.SpanContext.SpanID() {
			t.Errorf("%+v", s)
		}
		if s.Status.Code != 1 || s.Status.Description != "" {
			t.Errorf("status %+v", s.Status)
		}
	}
	for _, want := range []attribute.KeyValue{
		attribute.String("lumin.event_key", "01020300-0000-0000-0000-000000000000"), attribute.Int("lumin.attempt", 2),
		attribute.Int64("lumin.replay_id", 3), attribute.String("lumin.outcome", "failed"),
	} {
		if !hasAttribute(attempt, want) {
			t.Errorf("no %v in %v", want, attempt.Attributes)
		}
	}
}

func hasAttribute(s tracetest.SpanStub, want attribute.KeyValue) bool {
	for _, a := range s.Attributes {
		if a == want {
			return true
		}
	}
	return false
}

// The id is what SQL computes from the event key.
func TestTraceIDInSQL(t *testing.T) {
	t.Parallel()
	const sql = `SELECT left(encode(sha256(uuid_send($1::uuid)), 'hex'), 32)`
	got := pgtest.Value[string](t, pgtest.Conn(t, pgtest.NewEmpty(t)), sql, key)
	if got != tracing.TraceID(key).String() {
		t.Errorf("%s, want %s", got, tracing.TraceID(key))
	}
}

// All processes sample the same events, and about as many as they should.
func TestSampling(t *testing.T) {
	t.Parallel()
	ratio := sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.25))
	recording, first := newTracer(t, ratio)
	working, second := newTracer(t, ratio)
	const events = 2000
	for n := range events {
		event := [16]byte{byte(n), byte(n >> 8), 7, 7, 7, 7, 0x80, 1, 0x80, 1} // with the version and the variant of a UUID
		recording.Delivery(tracing.Delivery{Key: event, First: true})
		ctx, span := working.StartAttempt(t.Context(), tracing.Attempt{Key: event, Kind: "book"})
		_, inner := working.Start(ctx, "effect")
		inner.End()
		span.End()
	}
	sampled := map[trace.TraceID]int{}
	for _, s := range append(first.GetSpans(), second.GetSpans()...) {
		sampled[s.SpanContext.TraceID()]++
	}
	if len(sampled) < events/5 || len(sampled) > events*3/10 {
		t.Errorf("%d of %d events are sampled, want a quarter", len(sampled), events)
	}
	for id, spans := range sampled {
		if spans != 3 {
			t.Fatalf("trace %s has %d spans, want 3", id, spans)
		}
	}
}

// Off costs nothing.
func TestOff(t *testing.T) { //nolint:paralleltest // it counts allocations
	var tracer *tracing.Tracer
	if tracer.On() || tracer.Queries() != nil || tracer.Shutdown(t.Context()) != nil {
		t.Error("it is on")
	}
	logger := slog.New(slog.DiscardHandler)
	failed := errors.New("failed")
	if n := testing.AllocsPerRun(1000, func() { off(t.Context(), tracer, logger, failed) }); n != 0 { //nolint:usetesting // once per run
		t.Errorf("%v allocations", n)
	}
}

func off(ctx context.Context, tracer *tracing.Tracer, logger *slog.Logger, err error) {
	tracer.Delivery(tracing.Delivery{Key: key})
	batch, span := tracer.StartBatch(ctx, "batch", 3)
	tracer.Recorded(key, "recorded", time.Time{}, time.Time{}, span)
	ctx, attempt := tracer.StartAttempt(batch, tracing.Attempt{Key: key, Kind: "book"})
	ctx, effect := tracer.Start(ctx, "effect")
	tracing.Fail(effect, err)
	effect.End()
	tracing.End(attempt, "failed", true)
	span.End()
	if tracer.Logger(ctx, logger) != logger || len(tracer.LogAttrs(ctx)) > 0 {
		panic("it is on")
	}
}

// A tracer that is off leaves the spans of others alone.
func TestOffLeavesOthers(t *testing.T) {
	t.Parallel()
	on, _ := newTracer(t, nil)
	ctx, other := on.Start(t.Context(), "other")
	off(ctx, nil, slog.New(slog.DiscardHandler), errors.New("failed"))
	if !other.IsRecording() {
		t.Error("the span has ended")
	}
}

func BenchmarkOff(b *testing.B) {
	var tracer *tracing.Tracer
	logger := slog.New(slog.DiscardHandler)
	b.ReportAllocs()
	for b.Loop() {
		off(b.Context(), tracer, logger, nil)
	}
}

func BenchmarkOn(b *testing.B) {
	tracer := tracing.New(tracing.Config{Exporter: tracetest.NewNoopExporter()})
	defer func() { _ = tracer.Shutdown(context.Background()) }()
	b.ReportAllocs()
	for b.Loop() {
		tracer.Delivery(tracing.Delivery{Key: key, First: true})
		ctx, span := tracer.StartAttempt(b.Context(), tracing.Attempt{Key: key, Kind: "book"})
		_, effect := tracer.Start(ctx, "effect")
		effect.End()
		tracing.End(span, "succeeded", false)
	}
}

// Statements are part of the span around them, without their text and values, and
// errors of the server are in no span.
func TestStatements(t *testing.T) {
	t.Parallel()
	tracer, spans := newTracer(t, nil)
	pool, err := pgopen.Pool(t.Context(), pgtest.NewEmpty(t), pgopen.Options{Tracer: tracer.Queries()})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	query(t, pool, t.Context())
	if got := spans.GetSpans(); len(got) != 0 {
		t.Errorf("statements without a span: %v", got)
	}
	ctx, span := tracer.StartAttempt(t.Context(), tracing.Attempt{Key: key, Kind: "book"})
	query(t, pool, ctx)
	span.RecordError(errors.New("no account of ann@example.com"))
	span.End()
	seen := map[string]int{}
	for _, s := range spans.GetSpans() {
		seen[s.Name]++
		if s.SpanContext.TraceID() != tracing.TraceID(key) {
			t.Errorf("%+v is in another trace", s)
		}
		text := s.Name + s.Status.Description
		for _, a := range s.Attributes {
			text += " " + string(a.Key) + "=" + a.Value.String()
		}
		for _, e := range s.Events {
			for _, a := range e.Attributes {
				text += " " + string(a.Key) + "=" + a.Value.String()
			}
		}
		if strings.Contains(text, "canary") || strings.Contains(text, "ann@") || strings.Contains(text, "::") {
			t.Errorf("a span shows %s", text)
		}
	}
	if seen["SELECT"] < 2 || seen["attempt book"] != 1 {
		t.Errorf("%v", seen)
	}
}

func query(t *testing.T, pool *pgxpool.Pool, ctx context.Context) { //nolint:revive // t comes first
	t.Helper()
	var text string
	if err := pool.QueryRow(ctx, `SELECT 'canary' || $1::text`, "canary").Scan(&text); err != nil {
		t.Fatal(err)
	}
	var number int
	if err := pool.QueryRow(ctx, `SELECT $1::text::integer`, "canary").Scan(&number); err == nil {
		t.Fatal("there is no error")
	}
	batch := &pgx.Batch{}
	batch.Queue(`SELECT 'canary'`)
	if err := pool.SendBatch(ctx, batch).Close(); err != nil {
		t.Fatal(err)
	}
}
