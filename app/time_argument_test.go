package app

import (
	"testing"
	"time"
)

func TestParseWhen(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"1w":                               "2026-02-22T12:00:00Z",
		"1d12h":                            "2026-02-28T00:00:00Z",
		"2026-01-02":                       "2026-01-02T00:00:00Z",
		"2026-01-02T03:04":                 "2026-01-02T03:04:00Z",
		"2026-01-02T03:04:05":              "2026-01-02T03:04:05Z",
		"2026-01-02 03:04:05":              "2026-01-02T03:04:05Z",
		"2026-01-02T03:04:05Z":             "2026-01-02T03:04:05Z",
		"2026-01-02T03:04:05+02:00":        "2026-01-02T01:04:05Z",
		"2026-01-02 03:04:05.678Z":         "2026-01-02T03:04:05.678Z", // tables
		"2026-01-02 03:04:05.678 +02:00":   "2026-01-02T01:04:05.678Z",
		"2026-01-02 03:04:05.678 +0200":    "2026-01-02T01:04:05.678Z",
		"2026-01-02 03:04:05.678901+02":    "2026-01-02T01:04:05.678901Z", // psql
		"2026-01-02 03:04:05.678901+05:30": "2026-01-01T21:34:05.678901Z",
		"2026-01-02T03:04:05.678901Z":      "2026-01-02T03:04:05.678901Z", // JSON
		"2026-01-02 03:04":                 "2026-01-02T03:04:00Z",
		"90m":                              "2026-03-01T10:30:00Z",
		"24h":                              "2026-02-28T12:00:00Z",
		"7d":                               "2026-02-22T12:00:00Z",
		"0d":                               "2026-03-01T12:00:00Z",
	} {
		got, err := parseWhen(text, now)
		if err != nil || got.Format(time.RFC3339Nano) != want {
			t.Errorf("%q: %v, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "now", "-1h", "-1d", "7", "d", "1.5d", "2026-13-01", "2026-01-02T", "yesterday", "999999999d", "99999d", "99999999h", "0001-01-01", "1899-12-31"} {
		if got, err := parseWhen(text, now); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Ünïcode 契約":          "Ünïcode 契約",
		"a\tb\nc\x1b[31m":     "a\uFFFDb\uFFFDc\uFFFD[31m",
		"\u202eright":         "\uFFFDright",
		"zero\u200bwidth\x7f": "zero\uFFFDwidth\uFFFD",
	} {
		if got := printable(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
