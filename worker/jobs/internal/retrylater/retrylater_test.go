package retrylater_test

import (
	"errors"
	"testing"
	"time"

	"github.com/riverqueue/river/rivertype"

	"lumin-ingest/worker/jobs/internal/retrylater"
)

func TestRequested(t *testing.T) {
	t.Parallel()
	for status := 100; status < 600; status++ {
		if got, want := retrylater.Requested(status), status == 429 || status == 503; got != want {
			t.Errorf("%d: %t", status, got)
		}
	}
}

func TestDelay(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, c := range []struct {
		requested, age, want time.Duration
		ok                   bool
	}{
		{0, 0, time.Minute, true},
		{-time.Second, 0, time.Minute, true},
		{time.Millisecond, 0, time.Second, true},
		{30 * time.Second, day, 30 * time.Second, true},
		{2 * time.Hour, day, time.Hour, true},
		{30 * time.Second, day + 1, 0, false},
		{0, day + 1, 0, false},
	} {
		if got, ok := retrylater.Delay(c.requested, c.age); got != c.want || ok != c.ok {
			t.Errorf("Delay(%s, %s) = %s, %t, want %s, %t", c.requested, c.age, got, ok, c.want, c.ok)
		}
	}
}

func TestSnooze(t *testing.T) {
	t.Parallel()
	busy := errors.New("busy")
	err := retrylater.Snooze(busy, 7*time.Second)
	var snooze *rivertype.JobSnoozeError
	if !errors.Is(err, busy) || !errors.As(err, &snooze) || snooze.Duration != 7*time.Second {
		t.Errorf("%#v", err)
	}
}
