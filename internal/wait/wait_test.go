package wait_test

import (
	"testing"
	"testing/synctest"
	"time"

	"lumin-ingest/internal/wait"
)

func TestFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		wait.Until(t, "a second passes", func() bool { return time.Since(start) >= time.Second })
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("waited %s for one second", took)
		}
		start = time.Now()
		if wait.For(time.Minute, func() bool { return false }) {
			t.Error("a condition that never holds held")
		}
		if took := time.Since(start); took < time.Minute || took > 2*time.Minute {
			t.Errorf("gave up after %s, want a minute", took)
		}
	})
}
