package app

import (
	"context"
	"fmt"
	"strings"
	"sync"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// exported keeps everything that spans would send to a collector, as text.
type exported struct {
	mu   sync.Mutex
	text strings.Builder
}

// ExportSpans implements sdktrace.SpanExporter.
func (e *exported) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range spans {
		fmt.Fprintln(&e.text, s.Name(), s.Status(), s.InstrumentationScope(), s.Resource())
		for _, a := range s.Attributes() {
			fmt.Fprintln(&e.text, a.Key, a.Value.String())
		}
		for _, event := range s.Events() {
			fmt.Fprintln(&e.text, event.Name)
			for _, a := range event.Attributes {
				fmt.Fprintln(&e.text, a.Key, a.Value.String())
			}
		}
	}
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (*exported) Shutdown(context.Context) error { return nil }

func (e *exported) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.text.String()
}
