package store

import (
	"time"

	"go.opentelemetry.io/otel/trace"

	"lumin-ingest/internal/tracing"
)

// trace makes the spans of deliveries that were answered: in the trace of each
// event, linked to the batch.
func (r *Recorder) trace(batch []*pending, began time.Time, span trace.Span) {
	if !r.tracer.On() {
		return
	}
	now := time.Now()
	for _, p := range batch {
		r.tracer.Recorded(p.key, string(p.receipt.Status), began, now, span)
	}
}

// endBatch ends the span of a batch.
func endBatch(span trace.Span, err error) {
	tracing.Fail(span, err)
	span.End()
}
