package app

import (
	"log/slog"
	"os"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"

	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/tracing"
	"lumin-ingest/internal/version"
)

// newTracer returns the tracer that OpenTelemetry's standard variables ask for; nil
// if they ask for none. It becomes the global one of the program, which job types and
// their libraries use.
func newTracer(logger *slog.Logger) (*tracing.Tracer, error) {
	tracer, err := tracing.FromEnvironment(os.Getenv, programName(), version.Read().Version, logger)
	if err != nil {
		return nil, advice.Usage(err.Error(), "docs/operate.md lists the variables under Traces; OTEL_SDK_DISABLED=true turns traces off")
	}
	if tracer.On() {
		otel.SetTracerProvider(tracer.Provider())
		otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
	}
	return tracer, nil
}
