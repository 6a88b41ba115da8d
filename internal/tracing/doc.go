// Package tracing makes one OpenTelemetry trace of each event: from its delivery
// through its recording to each attempt of its jobs, in any process, and at any
// time.
//
//	tracer, err := tracing.FromEnvironment(os.Getenv, "lumin-ingest", version, logger) // nil: off
//	ctx, span := tracer.StartAttempt(ctx, tracing.Attempt{Key: key, Kind: "book_revenue", Number: 1})
//	defer span.End()
//
// The ids of a trace and of its first span are hashes of the event key: see
// [TraceID]. So nothing is stored or passed on to connect the parts, and the
// trace can be found from the event.
//
// A nil *Tracer is off: its methods return at once, without an allocation. Spans
// hold event keys, sources, types, kinds, attempts and outcomes, and no personal
// data: see [clean] for what others put into theirs.
package tracing
