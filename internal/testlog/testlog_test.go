package testlog_test

import (
	"fmt"
	"log/slog"
	"testing"

	"lumin-ingest/internal/testlog"
)

func TestBuffer(t *testing.T) {
	t.Parallel()
	var log testlog.Buffer
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	logger.Info("first", "n", 1)
	logger.Info("second", "n", 2)
	logger.Info("first", "n", 3)
	entries := log.Entries(t, "first")
	if len(entries) != 2 || entries[0]["n"] != 1.0 || entries[1]["n"] != 3.0 {
		t.Errorf("entries %v, want those with n 1 and 3, in order", entries)
	}
	fmt.Fprintln(&log, "not an entry")
	if got := log.First("second"); got["n"] != 2.0 {
		t.Errorf("first entry %v, want n 2", got)
	}
	if got := log.First("third"); got != nil {
		t.Errorf("an entry %v that was not logged", got)
	}
	if got := log.Tail(6); got != "entry\n" {
		t.Errorf("tail %q", got)
	}
}
