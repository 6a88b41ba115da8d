package history

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A quantile is within the bucket of the duration that it estimates.
func TestQuantileIsInTheRightBucket(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		durations := rapid.SliceOfN(rapid.Int64Range(0, int64(24*time.Hour)), 1, 50).Draw(t, "durations")
		var times Times
		longest := time.Duration(0)
		for _, d := range durations {
			times.Observe(time.Duration(d))
			longest = max(longest, time.Duration(d))
		}
		if got, want := bucketOf(times.Quantile(1)), bucketOf(longest); got != want {
			t.Errorf("the longest is in bucket %d, the estimate in %d", want, got)
		}
		if times.Quantile(0.5) > times.Quantile(0.99) {
			t.Errorf("the median %v is longer than the 99th percentile %v", times.Quantile(0.5), times.Quantile(0.99))
		}
	})
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	var times Times
	if times.Quantile(0.5) != 0 || times.Mean() != 0 {
		t.Error("without durations, a quantile or the mean is not 0")
	}
	for range 100 {
		times.Observe(40 * time.Millisecond) // the bucket from 25 to 50 ms
	}
	times.Observe(48 * time.Hour)
	for q, want := range map[float64]time.Duration{0.25: 31_312_500, 1: 24 * time.Hour} {
		if got := times.Quantile(q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	want := (100*40*time.Millisecond + 48*time.Hour) / 101
	if got := times.Mean(); got.Round(time.Millisecond) != want.Round(time.Millisecond) {
		t.Errorf("the mean is %v, want %v", got, want)
	}
}
