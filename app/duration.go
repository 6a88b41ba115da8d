package app

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

const (
	day  = 24 * time.Hour
	week = 7 * day

	// maxDuration exceeds every sensible setting. Dates computed from a longer
	// one might be out of range.
	maxDuration = 36500 * day
)

// durationUnit matches one number with its unit in a duration.
var durationUnit = regexp.MustCompile(`^(\d+)(?:\.\d+)?([a-zµμ]+)`)

var errTooLong = errors.New("more than 100 years")

// parseDuration reads all durations in flags and environment. The syntax is
// Go's, with days (d) and weeks (w) added. Negative durations are refused.
func parseDuration(text string) (total time.Duration, err error) {
	if text == "0" {
		return 0, nil
	}
	for rest := text; rest != "" || text == ""; {
		match := durationUnit.FindStringSubmatch(rest)
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
			scale := day
			if unit == "w" {
				scale = week
			}
			d = min(time.Duration(n), maxDuration/scale+1) * scale // cannot overflow
		default:
			if d, err = time.ParseDuration(part); err != nil {
				return 0, notDuration(text)
			}
		}
		if total += d; total > maxDuration || d > maxDuration {
			return 0, fmt.Errorf("%q is %w", text, errTooLong)
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

// formatDuration writes a duration in the syntax of parseDuration, in days if
// it is a whole number of them.
func formatDuration(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	if days := d / day; days > 0 && d == days*day {
		return strconv.Itoa(int(days)) + "d"
	}
	return d.String()
}

// durations makes kong read every time.Duration with parseDuration.
func durations() kong.Option {
	return kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		var text string
		if err := ctx.Scan.PopValueInto("duration", &text); err != nil {
			return err
		}
		d, err := parseDuration(text)
		if err != nil {
			return err
		}
		target.SetInt(int64(d))
		return nil
	}))
}

// age is the time for which data is kept. A unit shorter than an hour is
// refused: "1m" is a minute to the program, but a month to many people.
type age struct{ d time.Duration }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *age) UnmarshalText(text []byte) (err error) {
	s := string(text)
	if a.d, err = parseDuration(s); err != nil {
		return err
	}
	if a.d > 0 && !strings.ContainsAny(s, "hdw") {
		return errors.New(strconv.Quote(s) + " means " + formatDuration(a.d) + ": write a month as 30d, and use hours (h), days (d) or weeks (w)")
	}
	return nil
}

// String formats the age in the syntax of the flags.
func (a age) String() string { return formatDuration(a.d) }
