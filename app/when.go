package app

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// when is a point in time on the command line: a time, a day, or how long ago.
// The time is not embedded: its own ways to be parsed would come first.
type when struct{ at *time.Time }

// UnmarshalText implements encoding.TextUnmarshaler.
func (w *when) UnmarshalText(text []byte) error {
	at, err := parseWhen(string(text), time.Now())
	if err != nil {
		return err
	}
	w.at = &at
	return nil
}

func parseWhen(s string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, time.DateOnly} {
		if at, err := time.Parse(layout, s); err == nil {
			return at.UTC(), nil
		}
	}
	if days, found := strings.CutSuffix(s, "d"); found {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 {
			return now.AddDate(0, 0, -n).UTC(), nil
		}
	}
	if ago, err := time.ParseDuration(s); err == nil && ago >= 0 {
		return now.Add(-ago).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%q is not a time: write 2006-01-02, 2006-01-02T15:04:05Z (UTC), or how long ago: 90m, 24h, 7d", s)
}
