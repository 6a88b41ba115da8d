// Package duration parses and formats the durations of flags, environment
// variables and logs. The syntax is Go's, with days (d) and weeks (w) added.
//
//	d, err := duration.Parse("2w1d12h")
//	text := duration.Format(30 * duration.Day) // 30d
//
// [Parse] reads every text that [Format] and [time.Duration.String] write for
// durations up to [Max]. It refuses negative durations.
package duration

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	// Day is the length of the unit d. It ignores changes to and from daylight
	// saving time.
	Day = 24 * time.Hour

	// Max is the longest duration that [Parse] accepts: 100 years. It exceeds
	// every sensible setting. Dates computed from a longer one might be out of
	// range.
	Max = 36500 * Day
)

// unitPattern matches one number with its unit in a duration.
var unitPattern = regexp.MustCompile(`^(\d+)(?:\.\d+)?([a-zµμ]+)`)

// ErrTooLong is in the chain of the error for a duration that exceeds [Max].
var ErrTooLong = errors.New("more than 100 years")

// Parse reads a duration. Its errors say how to write one.
func Parse(text string) (total time.Duration, err error) {
	if text == "0" {
		return 0, nil
	}
	for rest := text; rest != "" || text == ""; {
		match := unitPattern.FindStringSubmatch(rest)
		if match == nil {
			return 0, notDuration(text)
		}
		part, unit := match[0], match[2]
		var d time.Duration
		switch unit {
		case "d", "w":
			n, err := strconv.ParseInt(strings.TrimSuffix(part, unit), 10, 64) // whole ones
			if err != nil && !errors.Is(err, strconv.ErrRange) {
				return 0, notDuration(text)
			}
			scale := Day
			if unit == "w" {
				scale = 7 * Day
			}
			d = min(time.Duration(n), Max/scale+1) * scale // cannot overflow
		default:
			if d, err = time.ParseDuration(part); err != nil {
				return 0, notDuration(text)
			}
		}
		if total += d; total > Max || d > Max {
			return 0, fmt.Errorf("%q is %w", text, ErrTooLong)
		}
		rest = rest[len(part):]
	}
	return total, nil
}

func notDuration(text string) error {
	if _, err := strconv.ParseFloat(text, 64); err == nil && !strings.HasPrefix(text, "-") {
		return fmt.Errorf("%q has no unit: write %[2]ss, %[2]sm (minutes), %[2]sh or %[2]sd", text, text)
	}
	return fmt.Errorf("%q is not a duration: write whole days as in 30d, weeks as in 2w, or 90s, 15m (minutes), 12h", text)
}

// Format writes a duration in the syntax of [Parse]: in days if it is a whole
// number of days, and 0 without a unit.
func Format(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	if days := d / Day; days > 0 && d == days*Day {
		return strconv.Itoa(int(days)) + "d"
	}
	return d.String()
}
