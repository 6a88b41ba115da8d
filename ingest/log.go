package ingest

import (
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"lumin-ingest/internal/redact"
)

// log writes the one line that there is about each delivery. It shows our result
// and nothing that the caller wrote, with two exceptions: the event type of a
// verified delivery, and the name of a source that is not configured.
func (h *Handler) log(c echo.Context, d *delivery, a answer, err error, took time.Duration) {
	level := slog.LevelInfo
	switch {
	case a.status >= http.StatusInternalServerError:
		level = slog.LevelError
	case a.status != http.StatusOK:
		level = slog.LevelWarn
	}
	attrs := append(make([]slog.Attr, 0, 13),
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
		attrs = append(attrs, slog.String("error_type", fmt.Sprintf("%T", err))) // its text may hold anything
	}
	if d.receipt.EventID != 0 {
		attrs = append(attrs, slog.Int64("event_id", d.receipt.EventID))
	}
	if d.receipt.Conflict {
		attrs = append(attrs, slog.Bool("conflict", true))
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
	attrs = append(attrs,
		slog.Int("bytes", d.bytes),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
		slog.String("remote_ip", c.RealIP()),
	)
	h.logger.LogAttrs(c.Request().Context(), level, "delivery", attrs...)
}

// sourceName is the source's name, or "unknown" if none of that name is configured.
func (d *delivery) sourceName() string {
	if d.source == nil {
		return "unknown"
	}
	return d.source.name
}

// maxTried is the length of the longest name of a source: "app:" and 63 characters.
const maxTried = 67

// loggable is the name of a source that anybody may have made up, cut to a
// bounded length and free of addresses, control characters and line ends.
func loggable(name string) string {
	name = redact.Text(name)
	if len(name) > maxTried {
		name = name[:maxTried] + "..."
	}
	quoted := strconv.QuoteToASCII(name)
	return quoted[1 : len(quoted)-1]
}
