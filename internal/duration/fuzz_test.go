package duration_test

import (
	"math/big"
	"regexp"
	"testing"
	"time"

	"lumin-ingest/internal/duration"
)

// FuzzParse compares Parse with an exact parser, and parses what Format writes.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"0", "30d", "2w1d12h", "1.5h", "0.000000001s", "36500d", "36500d1ns", "1.5d", "3\u00b5s", "3\u03bcs", "-1h", "7", "", "1h1h", "9999999999999999999w", "0.1ns", "1.h", "00d"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := duration.Parse(text)
		want, parts, ok := exact(text)
		if !ok {
			if err == nil {
				t.Errorf("%q is %v", text, got)
			}
			return
		}
		// Go rounds each part to a whole nanosecond.
		rounding := new(big.Rat).SetInt64(int64(parts))
		distance := new(big.Rat).Sub(want, new(big.Rat).SetInt64(int64(got)))
		limit := new(big.Rat).SetInt64(int64(duration.Max))
		switch {
		case err != nil && new(big.Rat).Add(want, rounding).Cmp(limit) <= 0:
			t.Errorf("%q: %v, want %s ns", text, err, want.FloatString(3))
		case err == nil && (got < 0 || got > duration.Max || distance.Abs(distance).Cmp(rounding) > 0):
			t.Errorf("%q is %v, want %s ns", text, got, want.FloatString(3))
		case err == nil:
			if again, err := duration.Parse(duration.Format(got)); err != nil || again != got {
				t.Errorf("%q is %v, written %q, which is %v, %v", text, got, duration.Format(got), again, err)
			}
		}
	})
}

var (
	wholePattern = regexp.MustCompile(`^(\d+(\.\d+)?(ns|us|\x{b5}s|\x{3bc}s|ms|s|m|h)|\d+[dw])+$`)
	partPattern  = regexp.MustCompile(`(\d+(?:\.\d+)?)(ns|us|\x{b5}s|\x{3bc}s|ms|s|m|h|d|w)`)
)

// exact returns a duration in nanoseconds, and the number of its parts.
func exact(text string) (total *big.Rat, parts int, ok bool) {
	total = new(big.Rat)
	if text == "0" {
		return total, 0, true
	}
	if !wholePattern.MatchString(text) {
		return nil, 0, false
	}
	units := map[string]time.Duration{
		"ns": 1, "us": time.Microsecond, "\u00b5s": time.Microsecond, "\u03bcs": time.Microsecond, "ms": time.Millisecond,
		"s": time.Second, "m": time.Minute, "h": time.Hour, "d": duration.Day, "w": 7 * duration.Day,
	}
	for _, part := range partPattern.FindAllStringSubmatch(text, -1) {
		n, ok := new(big.Rat).SetString(part[1])
		if !ok {
			return nil, 0, false
		}
		total.Add(total, n.Mul(n, new(big.Rat).SetInt64(int64(units[part[2]]))))
		parts++
	}
	return total, parts, true
}
