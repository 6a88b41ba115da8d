package history

import (
	"fmt"
	"time"
)

// Range is a stretch of time in steps of equal length. Steps begin at multiples of
// the length since 1970 in UTC.
type Range struct {
	From, To time.Time     // from the start of the first step to the end of the last
	Step     time.Duration // whole minutes below an hour, or whole hours
}

const (
	// longestByMinute is the longest range that NewRange divides into minutes, and
	// longestByHour into hours.
	longestByMinute = 3 * time.Hour
	longestByHour   = 8 * 24 * time.Hour

	// maxSteps is far more than a picture can show.
	maxSteps = 2000
)

// NewRange returns a range with steps of a minute for up to three hours, of an
// hour for up to eight days, and otherwise of a day. The first and the last step
// contain from and to.
func NewRange(from, to time.Time) Range {
	step := 24 * time.Hour
	switch length := to.Sub(from); {
	case length <= longestByMinute:
		step = time.Minute
	case length <= longestByHour:
		step = time.Hour
	}
	return Range{From: from.UTC().Truncate(step), To: to.UTC().Truncate(step).Add(step), Step: step}
}

// LastHour is the last hour in steps of a minute, the last of which contains now.
func LastHour(now time.Time) Range {
	to := now.UTC().Truncate(time.Minute).Add(time.Minute)
	return Range{From: to.Add(-time.Hour), To: to, Step: time.Minute}
}

// Steps returns the number of steps.
func (r Range) Steps() int { return int(r.To.Sub(r.From) / r.Step) }

// Index returns the number of the step that contains a time, from 0. It is
// outside of 0 to Steps()-1 for a time outside of the range.
func (r Range) Index(at time.Time) int {
	if at.Before(r.From) {
		return -1
	}
	return int(at.Sub(r.From) / r.Step)
}

// Start returns when a step begins.
func (r Range) Start(step int) time.Time { return r.From.Add(time.Duration(step) * r.Step) }

// check returns what is invalid.
func (r Range) check() error {
	switch {
	case r.Step < time.Minute, r.Step%time.Minute != 0, r.Step > time.Hour && r.Step%time.Hour != 0:
		return fmt.Errorf("a step of %v is invalid: use whole minutes below an hour, or whole hours", r.Step)
	case !r.From.Equal(r.From.Truncate(r.Step)) || !r.To.Equal(r.To.Truncate(r.Step)):
		return fmt.Errorf("a range from %v to %v has no whole steps of %v: use NewRange", r.From, r.To, r.Step)
	case r.Steps() < 1 || r.Steps() > maxSteps:
		return fmt.Errorf("a range of %d steps is invalid: use 1 to %d", r.Steps(), maxSteps)
	}
	return nil
}

// table returns one of the names of a table of minutes and its table of hours,
// and the name of its time.
func (r Range) table(minutes, hours string) (table, at string) {
	if r.Step < time.Hour {
		return minutes, "minute"
	}
	return hours, "hour"
}
