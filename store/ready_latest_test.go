package store

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Latest returns an answer for a while, and does not wait for a probe.
func TestLatestReadiness(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		failed := errors.New("no")
		r := &Readiness{running: make(chan struct{})} // this probe does not end
		if err := r.Latest(); err != nil {
			t.Errorf("before the first probe: %v", err)
		}
		r.endedAt, r.err = time.Now(), failed
		for _, test := range []struct {
			after time.Duration
			want  error
		}{{0, failed}, {latestTTL, failed}, {time.Second, nil}} {
			time.Sleep(test.after) // of the fake clock: no time passes
			if err := r.Latest(); !errors.Is(err, test.want) {
				t.Errorf("%v later: %v", test.after, err)
			}
		}
	})
}
