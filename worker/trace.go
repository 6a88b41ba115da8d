package worker

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/riverqueue/river/rivertype"
	"go.opentelemetry.io/otel/trace"

	"lumin-ingest/internal/tracing"
	"lumin-ingest/store"
)

// startSpan starts the span of an attempt: in the trace of its event, or else in one
// of its own. The internal jobs have none, because some of them run every minute.
func (m *attemptMiddleware) startSpan(ctx context.Context, row *rivertype.JobRow) (context.Context, trace.Span) {
	if !m.tracer.On() || strings.HasPrefix(row.Kind, InternalPrefix) {
		return ctx, tracing.NoSpan()
	}
	var args store.JobArgs
	_ = json.Unmarshal(row.EncodedArgs, &args) // those of a follow-up job may have any form, and name no event
	return m.tracer.StartAttempt(ctx, tracing.Attempt{
		Key: args.EventKey, Kind: row.Kind, Number: row.Attempt, ReplayID: args.ReplayID, JobID: row.ID, Queue: row.Queue,
	})
}

// startParked starts the span of an event that the job of another event works.
func (x *executor) startParked(ctx context.Context, attempt store.Attempt) (context.Context, trace.Span) {
	if !x.tracer.On() {
		return ctx, tracing.NoSpan()
	}
	return x.tracer.StartAttempt(ctx, tracing.Attempt{
		Key: attempt.EventKey, Kind: attempt.JobKind, Number: attempt.Number, ReplayID: attempt.ReplayID, Queue: x.jobType.spec.Queue,
	})
}

// endSpan ends the span of an attempt with its outcome.
func endSpan(span trace.Span, o outcome) {
	tracing.End(span, string(o), o == outcomeRetried || o == outcomeFailed)
}

// endWith ends a span with an error or none.
func endWith(span trace.Span, err error) {
	tracing.Fail(span, err)
	span.End()
}

// startBatch starts the span of a batch, and connects it with the spans of its
// attempts.
func (x *executor) startBatch(ctx context.Context, members []*member) (context.Context, trace.Span) {
	if !x.tracer.On() {
		return ctx, tracing.NoSpan()
	}
	ctx, span := x.tracer.StartBatch(ctx, "batch "+x.jobType.spec.Kind, len(members))
	if !span.IsRecording() {
		return ctx, span
	}
	for _, m := range members {
		of := trace.SpanFromContext(m.ctx)
		span.AddLink(trace.Link{SpanContext: of.SpanContext()})
		of.AddLink(trace.Link{SpanContext: span.SpanContext()})
	}
	return ctx, span
}
