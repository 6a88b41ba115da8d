package tracing

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"lumin-ingest/internal/redact"
)

// queryScope is the instrumentation scope of otelpgx, which puts errors of the
// server into its spans. Those can quote values.
const queryScope = "github.com/exaring/otelpgx"

// cleaner removes personal data from spans before they are exported.
type cleaner struct{ sdktrace.SpanExporter }

// ExportSpans implements sdktrace.SpanExporter.
func (c cleaner) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	cleaned := make([]sdktrace.ReadOnlySpan, len(spans))
	for i, span := range spans {
		cleaned[i] = clean{span}
	}
	return c.SpanExporter.ExportSpans(ctx, cleaned)
}

// clean is a span whose errors are cleaned: those of statements are removed, and
// those that code of users records are redacted, like the errors of runs.
type clean struct{ sdktrace.ReadOnlySpan }

func (s clean) text(text string) string {
	if s.InstrumentationScope().Name == queryScope {
		return ""
	}
	return redact.Text(text)
}

// Status implements sdktrace.ReadOnlySpan.
func (s clean) Status() sdktrace.Status {
	status := s.ReadOnlySpan.Status()
	status.Description = s.text(status.Description)
	return status
}

// Events implements sdktrace.ReadOnlySpan.
func (s clean) Events() []sdktrace.Event {
	all := s.ReadOnlySpan.Events()
	cleaned := make([]sdktrace.Event, len(all))
	for i, event := range all {
		cleaned[i] = event
		cleaned[i].Attributes = nil
		for _, a := range event.Attributes {
			if a.Key == "exception.message" {
				a = attribute.String(string(a.Key), s.text(a.Value.AsString()))
			}
			cleaned[i].Attributes = append(cleaned[i].Attributes, a)
		}
	}
	return cleaned
}

// statementName returns the first word of a statement: SELECT, INSERT.
func statementName(sql string) string {
	for _, line := range strings.Split(sql, "\n") {
		line, _, _ = strings.Cut(line, "--")
		if word := strings.FieldsFunc(line, func(r rune) bool { return r < 'A' || r > 'z' || r > 'Z' && r < 'a' }); len(word) > 0 {
			return strings.ToUpper(word[0])
		}
	}
	return "statement"
}

// keyText is the text of an event key, as a UUID.
func keyText(key [16]byte) string {
	const digits = "0123456789abcdef"
	text := make([]byte, 0, 36)
	for i, b := range key {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			text = append(text, '-')
		}
		text = append(text, digits[b>>4], digits[b&15])
	}
	return string(text)
}
