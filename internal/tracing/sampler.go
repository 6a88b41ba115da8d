package tracing

import (
	"fmt"
	"strconv"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// sampler decides about each event anew, by its trace id, wherever a part of its
// trace begins. All processes with the same setting agree. Below that, spans follow
// their parents.
type sampler struct{ sdktrace.Sampler }

// ShouldSample implements sdktrace.Sampler. No parent is really remote: a trace
// context that comes with a delivery is a link.
func (s sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if trace.SpanContextFromContext(p.ParentContext).IsRemote() {
		p.ParentContext = trace.ContextWithSpanContext(p.ParentContext, trace.SpanContext{})
	}
	return s.Sampler.ShouldSample(p)
}

// samplerOf returns the sampler of OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG.
func samplerOf(name, arg string) (sdktrace.Sampler, error) {
	ratio := 1.0
	switch name {
	case "", "parentbased_always_on":
		return sdktrace.ParentBased(sdktrace.AlwaysSample()), nil
	case "always_on":
		return sdktrace.AlwaysSample(), nil
	case "always_off":
		return sdktrace.NeverSample(), nil
	case "parentbased_always_off":
		return sdktrace.ParentBased(sdktrace.NeverSample()), nil
	case "traceidratio", "parentbased_traceidratio":
	default:
		return nil, fmt.Errorf("OTEL_TRACES_SAMPLER is %q", name)
	}
	if arg != "" {
		var err error
		if ratio, err = strconv.ParseFloat(arg, 64); err != nil || !(ratio >= 0 && ratio <= 1) {
			return nil, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG is %q", arg)
		}
	}
	if name == "traceidratio" {
		return sdktrace.TraceIDRatioBased(ratio), nil
	}
	return sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ratio)), nil
}
