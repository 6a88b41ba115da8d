package tracing

import (
	"context"
	"crypto/sha256"
	"math/rand/v2"

	"go.opentelemetry.io/otel/trace"
)

// TraceID returns the id of the trace of an event: the first 16 bytes of the SHA-256
// of the event key. In SQL:
//
//	left(encode(sha256(uuid_send(event_key)), 'hex'), 32)
//
// The key itself would not do: samplers expect random bits where a UUID has its
// variant, and a ratio below a half would then select no event at all.
func TraceID(key [16]byte) trace.TraceID {
	id, _ := idsOf(key)
	return id
}

// idsOf returns the ids of the trace and of its first span, the delivery that
// recorded the event. W3C Trace Context forbids ids of zeros only, which no one can
// find a key for.
func idsOf(key [16]byte) (id trace.TraceID, root trace.SpanID) {
	digest := sha256.Sum256(key[:])
	copy(id[:], digest[:])
	copy(root[:], digest[len(id):])
	return id, root
}

// rootOf is the parent of everything that belongs to an event. It counts as remote:
// see [sampler].
func rootOf(key [16]byte) trace.SpanContext {
	id, root := idsOf(key)
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: root, Remote: true})
}

// rootKey is the context key of the event key whose first span is being started.
type rootKey struct{}

// generator makes random ids, except for the first span of an event.
type generator struct{}

// NewIDs implements sdktrace.IDGenerator.
func (g generator) NewIDs(ctx context.Context) (id trace.TraceID, span trace.SpanID) {
	if key, ok := ctx.Value(rootKey{}).([16]byte); ok {
		return idsOf(key)
	}
	for !id.IsValid() {
		fill(id[:])
	}
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID implements sdktrace.IDGenerator.
func (generator) NewSpanID(context.Context, trace.TraceID) (span trace.SpanID) {
	for !span.IsValid() {
		fill(span[:])
	}
	return span
}

func fill(id []byte) {
	for i := range id {
		id[i] = byte(rand.Uint32()) //nolint:gosec // ids need not be secret
	}
}
