package app

import (
	"errors"
	"fmt"
	"time"

	"lumin-ingest/internal/duration"
)

// when is a point in time on the command line: a time, a day, or how long ago.
// The time is not embedded, because its own parsers would take precedence.
type when struct {
	at   *time.Time
	text string // as it was written
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (w *when) UnmarshalText(text []byte) error {
	at, err := parseWhen(string(text), time.Now())
	if err != nil {
		return err
	}
	w.at, w.text = &at, string(text)
	return nil
}

// whenLayouts are RFC 3339, as in JSON; RFC 3339 with a space, as in tables;
// the form of psql; and shorter forms in UTC. All accept fractions of a second.
func whenLayouts() []string {
	return []string{
		time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 Z07:00", "2006-01-02 15:04:05 -0700",
		"2006-01-02 15:04:05Z07", "2006-01-02T15:04:05", time.DateTime, "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly,
	}
}

// minTime is earlier than any event, and within PostgreSQL's range.
func minTime() time.Time { return time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC) }

func parseWhen(s string, now time.Time) (time.Time, error) {
	at, err := parseTime(s, now)
	if err == nil && (at.Before(minTime()) || at.Year() > 9999) {
		return time.Time{}, fmt.Errorf("%q is out of range: give a time after 1900", s)
	}
	return at, err
}

func parseTime(s string, now time.Time) (time.Time, error) {
	for _, layout := range whenLayouts() {
		if at, err := time.Parse(layout, s); err == nil {
			return at.UTC(), nil
		}
	}
	switch ago, err := duration.Parse(s); {
	case err == nil:
		return now.Add(-ago).UTC(), nil
	case errors.Is(err, duration.ErrTooLong):
		return time.Time{}, err
	}
	return time.Time{}, fmt.Errorf("%q is not a time: write 2006-01-02, 2006-01-02T15:04:05Z (UTC), or how long ago: 90m, 24h, 7d", s)
}
