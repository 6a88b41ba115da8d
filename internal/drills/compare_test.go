//go:build unix

package main

import (
	"testing"
	"time"

	"lumin-ingest/internal/faults"
)

func TestParseLimit(t *testing.T) {
	t.Parallel()
	now := time.Now()
	if limit, err := parseLimit("nothing"); err != nil || limit.Before(now) {
		t.Errorf("nothing may be lost after %s, %v", limit, err)
	}
	if limit, err := parseLimit("everything"); err != nil || !limit.IsZero() {
		t.Errorf("everything may be lost after %s, %v", limit, err)
	}
	// As PostgreSQL's to_char prints it in the script.
	want := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	if limit, err := parseLimit("2026-01-02T03:04:05.678901+00:00"); err != nil || !limit.Equal(want) {
		t.Errorf("%s, %v, want %s", limit, err, want)
	}
	if limit, err := parseLimit("2026-01-02"); err == nil {
		t.Errorf("a date is taken for %s", limit)
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		c    faults.Comparison
		good bool
	}{
		"good":                 {faults.Comparison{Acknowledged: 1}, true},
		"an invariant":         {faults.Comparison{Acknowledged: 1, Violations: []faults.Violation{{Checker: "I1", Count: 1}}}, false},
		"nothing acknowledged": {faults.Comparison{}, false},
	} {
		if err := verdict(&test.c); (err == nil) != test.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
