package workertest

import (
	"strings"
	"testing"
)

// Succeeded reports an error unless the run has succeeded.
func Succeeded(t testing.TB, r Result) {
	t.Helper()
	ended(t, r, "succeeded", "")
}

// Failed reports an error unless the run has failed, and text is part of its last
// error.
func Failed(t testing.TB, r Result, text string) {
	t.Helper()
	ended(t, r, "failed", text)
}

// Cancelled reports an error unless the run was cancelled, and text is part of its
// last error.
func Cancelled(t testing.TB, r Result, text string) {
	t.Helper()
	ended(t, r, "cancelled", text)
}

func ended(t testing.TB, r Result, state, text string) {
	t.Helper()
	last := ""
	if len(r.Errors) > 0 {
		last = r.Errors[len(r.Errors)-1]
	}
	switch {
	case r.State != state:
		t.Errorf("the run has %s after %d attempts, want %s; errors: %q", r.State, r.Attempts, state, r.Errors)
	case !strings.Contains(last, text):
		t.Errorf("the run has %s with %q, want %q", state, last, text)
	}
}
