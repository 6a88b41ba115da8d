package duration_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"lumin-ingest/internal/duration"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "0d": 0, "90s": 90 * time.Second, "1.5h": 90 * time.Minute, "250ms": 250 * time.Millisecond, "3us": 3 * time.Microsecond, "3\u00b5s": 3 * time.Microsecond,
		"30d": 30 * duration.Day, "2w": 14 * duration.Day, "1w2d3h4m5s": 9*duration.Day + 3*time.Hour + 4*time.Minute + 5*time.Second, "36500d": duration.Max, "48h10m0s": 48*time.Hour + 10*time.Minute,
	} {
		if got, err := duration.Parse(text); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", " ", "7", "-1h", "-1d", "+1h", "d", "1.5d", "1y", "1M", "1mo", "1D", "h1", "1 d", "1d ", "1d1", ".5h", "soon", "36501d", "999999999d",
		"9999999999999999999d", "9999999h", "9999999999999999999h", "36500d1ns",
		"5300w", "16000w", "20000w", "30501w", "36501w", "999999999w", "9999999999999999999w",
	} {
		if got, err := duration.Parse(text); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
}

// Durations that Go or this program prints can be parsed again.
func TestParsePrinted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(duration.Max)).Draw(t, "d"))
		for _, text := range []string{d.String(), duration.Format(d), duration.Format(d.Truncate(duration.Day))} {
			got, err := duration.Parse(text)
			if err != nil || got != d && got != d.Truncate(duration.Day) {
				t.Fatalf("%q: %v, %v", text, got, err)
			}
		}
	})
}
