package service

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/tracing"
	"lumin-ingest/internal/wait"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

// flaky fails its first attempt, and makes a span of its own.
type flaky struct {
	worker.Defaults
	calls *atomic.Int64
}

func (flaky) Kind() string              { return "flaky" }
func (flaky) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }
func (flaky) Backoff(int) time.Duration { return 0 }

func (f flaky) WorkTx(ctx context.Context, tx pgx.Tx, _ *worker.Event) error {
	ctx, span := trace.SpanFromContext(ctx).TracerProvider().Tracer("mine").Start(ctx, "invoice")
	defer span.End()
	if f.calls.Add(1) == 1 {
		err := errors.New("not yet: ask ann@example.com")
		span.RecordError(err)
		return err
	}
	worker.Logger(ctx).Info("invoice booked")
	_, err := tx.Exec(ctx, `SELECT 'canary'`)
	return err
}

// A program that receives and another that works make one trace of an event, across
// a retry and a replay, and their logs lead to it.
func TestOneTraceAcrossPrograms(t *testing.T) {
	t.Parallel()
	url, calls := pgtest.New(t), &atomic.Int64{}
	start := func(ingest bool) (*testService, *tracetest.InMemoryExporter) {
		spans := tracetest.NewInMemoryExporter()
		s := startService(t, url, func(cfg *Config) {
			cfg.Ingest, cfg.Work = ingest, !ingest
			cfg.Tracer = tracing.New(tracing.Config{Exporter: spans, Sync: true})
			cfg.Registry = worker.NewRegistry()
			cfg.Registry.AddTx(flaky{calls: calls})
		})
		return s, spans
	}
	receiving, recorded := start(true)
	working, worked := start(false)
	receiving.waitReady(t)
	working.waitReady(t)
	if status := receiving.deliver(t, accountKey); status != 200 {
		t.Fatal(status)
	}
	pool := pgtest.Pool(t, url)
	succeeded := func() bool {
		return pgtest.Value[bool](t, pool, `SELECT coalesce(bool_and(state = 'succeeded'), false) FROM lumin.runs`)
	}
	wait.Until(t, "the second attempt succeeds", func() bool { return calls.Load() == 2 && succeeded() })
	pgtest.Exec(t, pool, `SELECT lumin.replay(status => 'succeeded', job_kinds => '{flaky}', reason => 'test')`)
	wait.Until(t, "the replay succeeds", func() bool { return calls.Load() == 3 && succeeded() })
	key := pgtest.Value[[16]byte](t, pool, `SELECT event_key FROM lumin.events`)
	id := tracing.TraceID(key)

	named := func(spans *tracetest.InMemoryExporter, name string) []tracetest.SpanStub {
		return spansOf(spans, id, name)
	}
	wait.Until(t, "all spans have ended", func() bool { return len(named(worked, "attempt flaky")) == 3 && len(named(recorded, "delivery")) == 1 })
	delivery := named(recorded, "delivery")[0]
	wantRecording(t, recorded, delivery)
	var outcomes []string
	for _, s := range named(worked, "attempt flaky") {
		if s.Parent.SpanID() != delivery.SpanContext.SpanID() {
			t.Errorf("%+v", s)
		}
		outcomes = append(outcomes, valueOf(s, "lumin.outcome")+" "+valueOf(s, "lumin.attempt")+" "+valueOf(s, "lumin.replay_id"))
	}
	if want := []string{"retried 1 0", "succeeded 2 0", "succeeded 1 1"}; !slices.Equal(outcomes, want) {
		t.Errorf("outcomes %q, want %q", outcomes, want)
	}
	if n := len(named(worked, "invoice")); n != 3 || len(named(worked, "effect")) != 3 || len(named(worked, "commit")) != 2 {
		t.Errorf("%d spans of the job type, and %d, %d around", n, len(named(worked, "effect")), len(named(worked, "commit")))
	}
	inner := named(worked, "invoice")[0]
	if e := inner.Events; len(e) != 1 || !slices.Contains(e[0].Attributes, attribute.String("exception.message", "not yet: ask [address]")) {
		t.Errorf("%+v", e)
	}
	wantTraceID(t, receiving, id, "delivery")
	wantTraceID(t, working, id, "attempt failed")
	wantTraceID(t, working, id, "invoice booked")
}

// spansOf returns the spans of a trace with this name.
func spansOf(spans *tracetest.InMemoryExporter, id trace.TraceID, name string) (found []tracetest.SpanStub) {
	for _, s := range spans.GetSpans() {
		if s.Name == name && s.SpanContext.TraceID() == id {
			found = append(found, s)
		}
	}
	return found
}

// wantRecording checks the spans around the recording of an event.
func wantRecording(t *testing.T, spans *tracetest.InMemoryExporter, delivery tracetest.SpanStub) {
	t.Helper()
	record := spansOf(spans, delivery.SpanContext.TraceID(), "record")
	if delivery.Parent.IsValid() || len(record) != 1 || record[0].Parent.SpanID() != delivery.SpanContext.SpanID() || len(record[0].Links) != 1 {
		t.Fatalf("%+v, %+v", delivery, record)
	}
	batch := record[0].Links[0].SpanContext.TraceID()
	if len(spansOf(spans, batch, "record batch")) != 1 || len(spansOf(spans, batch, "WITH")) == 0 {
		t.Error("the batch is missing, or has no statement")
	}
}

// wantTraceID checks that a line of the log leads to the trace.
func wantTraceID(t *testing.T, s *testService, id trace.TraceID, message string) {
	t.Helper()
	if line := s.log.First(message); line == nil || line["trace_id"] != id.String() {
		t.Errorf("%s: %v", message, line)
	}
}

func valueOf(s tracetest.SpanStub, name string) string {
	for _, a := range s.Attributes {
		if string(a.Key) == name {
			return a.Value.String()
		}
	}
	return ""
}

// Without a tracer there is no trace id in the log.
func TestNoTraces(t *testing.T) {
	t.Parallel()
	s := startService(t, pgtest.New(t), func(*Config) {})
	s.waitReady(t)
	s.deliver(t, accountKey)
	wait.Until(t, "it is logged", func() bool { return s.log.First("delivery") != nil })
	if id, ok := s.log.First("delivery")["trace_id"]; ok {
		t.Error(id)
	}
}
