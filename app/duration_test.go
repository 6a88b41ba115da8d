package app

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "0d": 0, "90s": 90 * time.Second, "1.5h": 90 * time.Minute, "250ms": 250 * time.Millisecond, "3us": 3 * time.Microsecond, "3\u00b5s": 3 * time.Microsecond,
		"30d": 30 * day, "2w": 14 * day, "1w2d3h4m5s": 9*day + 3*time.Hour + 4*time.Minute + 5*time.Second, "36500d": maxDuration, "48h10m0s": 48*time.Hour + 10*time.Minute,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", " ", "7", "-1h", "-1d", "+1h", "d", "1.5d", "1y", "1M", "1mo", "1D", "h1", "1 d", "1d ", "1d1", ".5h", "soon", "36501d", "999999999d",
		"9999999999999999999d", "9999999h", "9999999999999999999h", "36500d1ns",
		"5300w", "16000w", "20000w", "30501w", "36501w", "999999999w", "9999999999999999999w",
	} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
}

// Durations that Go or this program prints can be parsed again.
func TestParseDurationPrinted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(maxDuration)).Draw(t, "d"))
		for _, text := range []string{d.String(), formatDuration(d), formatDuration(d.Truncate(day))} {
			got, err := parseDuration(text)
			if err != nil || got != d && got != d.Truncate(day) {
				t.Fatalf("%q: %v, %v", text, got, err)
			}
		}
	})
}

func TestAge(t *testing.T) {
	t.Parallel()
	for text, good := range map[string]bool{
		"0": true, "0m": true, "90d": true, "12w": true, "2160h": true, "48h10m0s": true, "1m": false, "90m": false, "1s": false, "100000m": false, "1": false,
	} {
		var a age
		if err := a.UnmarshalText([]byte(text)); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}
