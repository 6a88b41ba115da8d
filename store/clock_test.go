package store_test

import (
	"testing"
	"time"
)

func TestClockOffset(t *testing.T) {
	t.Parallel()
	offset, within, err := newStore(t).ClockOffset(t.Context())
	if err != nil || within <= 0 || offset.Abs() > within+time.Second {
		t.Errorf("on one machine the clocks differ by %s ± %s, %v", offset, within, err)
	}
}
