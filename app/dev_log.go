package app

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
)

// demoLog is the log of dev. While the demo runs, it shows only the lines of
// the user's own job types: all other failures in the demo are intended.
type demoLog struct {
	slog.Handler
	demonstrating *atomic.Bool
	kind          string // the job type that the lines are about; empty if unknown
}

// Enabled implements slog.Handler.
func (h demoLog) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo && h.Handler.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h demoLog) Handle(ctx context.Context, record slog.Record) error {
	if h.demonstrating.Load() {
		kind := h.kind
		record.Attrs(func(a slog.Attr) bool {
			kind = kindOrDefault(kind, a)
			return true
		})
		if kind == "" || kind == (demoInvoice{}).Kind() || strings.HasPrefix(kind, "lumin_") {
			return nil
		}
	}
	return h.Handler.Handle(ctx, record)
}

func kindOrDefault(kind string, a slog.Attr) string {
	if a.Key == "kind" {
		return a.Value.String()
	}
	return kind
}

// WithAttrs implements slog.Handler.
func (h demoLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		h.kind = kindOrDefault(h.kind, a)
	}
	h.Handler = h.Handler.WithAttrs(attrs)
	return h
}

// WithGroup implements slog.Handler.
func (h demoLog) WithGroup(name string) slog.Handler {
	h.Handler = h.Handler.WithGroup(name)
	return h
}
