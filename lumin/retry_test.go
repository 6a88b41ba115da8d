package lumin_test

import (
	"slices"
	"testing"
	"time"

	"lumin-ingest/lumin"
)

func TestRetryDelays(t *testing.T) {
	t.Parallel()
	var want []time.Duration
	for _, text := range []string{"5m", "15m", "45m", "2h15m", "6h45m", "20h15m"} {
		delay, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, delay)
	}
	got := lumin.RetryDelays()
	if !slices.Equal(got, want) {
		t.Errorf("RetryDelays() = %v, want %v", got, want)
	}
	var sum time.Duration
	for _, delay := range got {
		sum += delay
	}
	if sum != lumin.RetryWindow {
		t.Errorf("the delays add up to %v, RetryWindow is %v", sum, lumin.RetryWindow)
	}
	got[0] = 0
	if lumin.RetryDelays()[0] == 0 {
		t.Error("changing the slice changed the schedule")
	}
}
