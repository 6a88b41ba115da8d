package history

import (
	"fmt"
	"strings"
	"time"
)

// buckets is the number of upper bounds, and one more for longer durations.
const buckets = 19

// bounds returns the upper bounds of the buckets. The arrays in the database have
// the same order: a change needs a migration that rewrites them.
func bounds() [buckets - 1]time.Duration {
	return [...]time.Duration{
		time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
		10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
		100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
		time.Second, 2500 * time.Millisecond, 5 * time.Second,
		10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, time.Hour, 24 * time.Hour,
	}
}

// bucketOf returns the index of the bucket of a duration.
func bucketOf(d time.Duration) int {
	all := bounds()
	for i, bound := range all {
		if d <= bound {
			return i
		}
	}
	return buckets - 1
}

// Times is a histogram of durations. The zero value has none.
type Times struct {
	counts  [buckets]int64
	seconds float64 // sum
}

// Observe adds a duration.
func (t *Times) Observe(d time.Duration) {
	t.counts[bucketOf(d)]++
	t.seconds += d.Seconds()
}

// Add adds all durations of another histogram.
func (t *Times) Add(other Times) {
	for i, n := range other.counts {
		t.counts[i] += n
	}
	t.seconds += other.seconds
}

// Count returns the number of durations.
func (t Times) Count() int64 {
	var sum int64
	for _, n := range t.counts {
		sum += n
	}
	return sum
}

// Mean returns the mean. It is 0 without durations.
func (t Times) Mean() time.Duration {
	n := t.Count()
	if n == 0 {
		return 0
	}
	return time.Duration(t.seconds / float64(n) * float64(time.Second))
}

// Quantile estimates the duration that the part q of all durations does not
// exceed: 0.5 for the median. Like Prometheus, it assumes that the durations in a
// bucket are spread evenly. It is 0 without durations, and a day if it is longer
// than a day.
func (t Times) Quantile(q float64) time.Duration {
	rank, below := q*float64(t.Count()), 0.0
	var low time.Duration
	for i, high := range bounds() {
		n := float64(t.counts[i])
		if n > 0 && below+n >= rank {
			return low + time.Duration(float64(high-low)*max(rank-below, 0)/n)
		}
		below += n
		low = high
	}
	if t.Count() == 0 {
		return 0
	}
	return low
}

// stored returns the counts as the tables hold them: none if nothing was
// measured.
func (t Times) stored() []int64 {
	if t.Count() == 0 {
		return []int64{}
	}
	return t.counts[:]
}

// sumOf returns an SQL expression: the sums of an array column of a group of
// rows, by element.
func sumOf(column string) string {
	var sums []string
	for i := range buckets {
		sums = append(sums, fmt.Sprintf("coalesce(sum(%s[%d]), 0)", column, i+1))
	}
	return "ARRAY[" + strings.Join(sums, ", ") + "]"
}

// plus returns an SQL expression: the sums of two arrays, by element. Either may
// be empty.
func plus(a, b string) string { return combine(a, "+", b) }

// minus returns an SQL expression: the differences of two arrays, by element. The
// second may be empty or NULL.
func minus(a, b string) string { return combine(a, "-", b) }

func combine(a, operator, b string) string {
	return fmt.Sprintf("ARRAY(SELECT coalesce(x, 0) %s coalesce(y, 0) FROM unnest(%s, %s) WITH ORDINALITY AS u (x, y, i) ORDER BY i)", operator, a, b)
}
