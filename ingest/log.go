package ingest

import (
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"lumin-ingest/internal/redact"
	"lumin-ingest/internal/tracing"
	"lumin-ingest/lumin"
)

// log writes the log line of a delivery. The line shows our result and nothing
// that the caller wrote, with two exceptions: the event type of a verified
// delivery, and the name of a source that is not configured.
func (h *Handler) log(c echo.Context, d *delivery, a answer, err error, took time.Duration) {
	level := slog.LevelInfo
	switch {
	case a.status >= http.StatusInternalServerError:
		level = slog.LevelError
	case a.status != http.StatusOK:
		level = slog.LevelWarn
	}
	attrs := append(make([]slog.Attr, 0, 15),
		slog.String("source", d.sourceName()),
		slog.Int("status", a.status),
		slog.String("result", a.result),
	)
	if a.code != "" {
		attrs = append(attrs, slog.String("code", a.code))
	}
	if d.tried != "" {
		attrs = append(attrs, slog.String("tried", loggable(d.tried)))
	}
	if a.status == http.StatusInternalServerError {
		attrs = append(attrs, slog.String("error_type", fmt.Sprintf("%T", err))) // its text may contain anything
	}
	if d.receipt.EventID != 0 {
		attrs = append(attrs, slog.Int64("event_id", d.receipt.EventID))
	}
	if d.receipt.Conflict {
		attrs = append(attrs, slog.Bool("conflict", true))
	}
	if d.receipt.Recovered {
		attrs = append(attrs, slog.Bool("recovered", true))
	}
	if d.eventType != "" {
		attrs = append(attrs, slog.String("event_type", string(d.eventType)))
	}
	if d.unrecognized != "" {
		attrs = append(attrs, slog.String("reason", d.unrecognized))
	}
	if d.keyID != "" {
		attrs = append(attrs, slog.String("key_id", d.keyID))
	}
	if d.key != (lumin.EventKey{}) {
		attrs = append(attrs, slog.String("trace_id", tracing.TraceID(d.key).String()))
	}
	attrs = append(attrs,
		slog.Int("bytes", d.bytes),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
		slog.String("remote_ip", c.RealIP()),
	)
	h.logger.LogAttrs(c.Request().Context(), level, "delivery", attrs...)
}

// sourceName returns the source's name, or "unknown" if it is not configured.
func (d *delivery) sourceName() string {
	if d.source == nil {
		return "unknown"
	}
	return d.source.name
}

// maxTried is the maximum length of a source's name: "app:" and 63 characters.
const maxTried = 67

// loggable makes an untrusted source name safe for the log. It limits the
// length, and removes e-mail addresses, control characters and line breaks.
func loggable(name string) string {
	name = redact.Text(name)
	if len(name) > maxTried {
		name = name[:maxTried] + "..."
	}
	quoted := strconv.QuoteToASCII(name)
	return quoted[1 : len(quoted)-1]
}
