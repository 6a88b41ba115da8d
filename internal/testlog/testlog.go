// Package testlog collects a program's log, so that a test can read it while
// the program still writes.
//
//	var log testlog.Buffer
//	logger := slog.New(slog.NewJSONHandler(&log, nil))
//	...
//	entries := log.Entries(t, "delivery")
package testlog

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"testing"
)

// Buffer collects what is written to it. The zero value is empty and ready. It
// is safe for concurrent use.
type Buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String returns everything written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Tail returns the last n bytes at most.
func (b *Buffer) Tail(n int) string {
	text := b.String()
	return text[max(0, len(text)-n):]
}

// Entries returns the entries with this message, in order. It fails the test if
// a line is not an entry of slog.JSONHandler.
func (b *Buffer) Entries(tb testing.TB, message string) []map[string]any {
	tb.Helper()
	var found []map[string]any
	for line := range strings.Lines(b.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			tb.Fatalf("%v in %q", err, line)
		}
		if entry["msg"] == message {
			found = append(found, entry)
		}
	}
	return found
}

// First returns the first entry with this message, or nil. It skips lines that
// are not entries, because a whole program also prints other texts.
func (b *Buffer) First(message string) map[string]any {
	for line := range strings.Lines(b.String()) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) == nil && entry["msg"] == message {
			return entry
		}
	}
	return nil
}
