package workertest

import (
	"strings"
	"testing"
)

// Succeeded fails the test unless the run succeeded.
func Succeeded(t testing.TB, r Result) {
	t.Helper()
	ended(t, r, "succeeded", "")
}

// Failed fails the test unless the run failed and its last error contains text.
func Failed(t testing.TB, r Result, text string) {
	t.Helper()
	ended(t, r, "failed", text)
}

// Cancelled fails the test unless the run was cancelled and its last error
// contains text.
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
		t.Errorf("the run is %s after %d attempts, want %s; errors: %q", r.State, r.Attempts, state, r.Errors)
	case !strings.Contains(last, text):
		t.Errorf("the run is %s with error %q, want an error that contains %q", state, last, text)
	}
}
