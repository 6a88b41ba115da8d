package worker_test

import (
	"strings"
	"testing"
)

func checkTexts(t *testing.T, what string, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %.300q, want %.300q", what, got, want)
		return
	}
	for i := range got {
		if !strings.Contains(got[i], want[i]) || len(got[i]) > 2000 {
			t.Errorf("%s: %.300q, want %.300q", what, got[i], want[i])
		}
	}
}

// checkCanaries fails the test if the log, River's jobs, or the tables of runs,
// failures and replays contain personal data of events or errors.
func checkCanaries(t *testing.T, r *rig) {
	t.Helper()
	for _, place := range []string{
		`SELECT r::text FROM lumin.runs r`, `SELECT f::text FROM lumin.failures f`, `SELECT j::text FROM lumin.river_job j`,
		`SELECT coalesce(error, '') FROM lumin.replays`,
	} {
		for _, row := range r.rows(place) {
			if strings.Contains(row, "canary") {
				t.Errorf("%s: %s", place, row)
			}
		}
	}
	for line := range strings.Lines(r.logs.String()) {
		if strings.Contains(line, "canary") {
			t.Errorf("log: %s", line)
		}
	}
}

// brokenError panics in the methods of an error.
type brokenError struct{ text bool }

func (e brokenError) Error() string {
	if e.text {
		panic("no text")
	}
	return "broken"
}

func (brokenError) Unwrap() error { panic("no chain") }

// anyError claims to be every other error.
type anyError struct{}

func (anyError) Error() string   { return "any" }
func (anyError) Is(error) bool   { return true }
func (anyError) Timeout() bool   { return true }
func (anyError) Temporary() bool { return true }

// loggingError has its own log value.
type loggingError struct{}

func (loggingError) Error() string                { return "harmless" }
func (loggingError) MarshalJSON() ([]byte, error) { return []byte(`"canary"`), nil }
