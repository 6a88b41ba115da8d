// Package wait lets a test wait for a condition instead of a length of time.
//
// Use it in tests only, when nothing signals that a condition has come true. A
// condition is checked every few milliseconds, on the test's goroutine.
//
//	wait.Until(t, "the delivery is recorded", func() bool { return count(t) == 1 })
package wait

import (
	"testing"
	"time"
)

// Limit is how long [Until] waits. It suits a busy test machine: a test that
// passes does not wait that long.
const Limit = 45 * time.Second

// pause is the time between two checks.
const pause = 5 * time.Millisecond

// Until returns when the condition holds. It fails the test at once if that
// takes longer than [Limit]. what names the condition, such as "the folder is
// gone". The failure reads "did not happen within 45s: the folder is gone".
func Until(tb testing.TB, what string, condition func() bool) {
	tb.Helper()
	Within(tb, Limit, what, condition)
}

// Within is Until with another limit.
func Within(tb testing.TB, limit time.Duration, what string, condition func() bool) {
	tb.Helper()
	if !For(limit, condition) {
		tb.Fatalf("did not happen within %s: %s", limit, what)
	}
}

// For waits for the condition, and reports whether it held within the limit.
// Use it where a failing test has more to report than Until does.
func For(limit time.Duration, condition func() bool) bool {
	for deadline := time.Now().Add(limit); !condition(); time.Sleep(pause) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}
