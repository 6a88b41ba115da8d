package app

import (
	"errors"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"lumin-ingest/internal/duration"
)

// durations makes kong read every time.Duration with [duration.Parse].
func durations() kong.Option {
	return kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		var text string
		if err := ctx.Scan.PopValueInto("duration", &text); err != nil {
			return err
		}
		d, err := duration.Parse(text)
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
	if a.d, err = duration.Parse(s); err != nil {
		return err
	}
	if a.d > 0 && !strings.ContainsAny(s, "hdw") {
		return errors.New(strconv.Quote(s) + " means " + duration.Format(a.d) + ": write a month as 30d, and use hours (h), days (d) or weeks (w)")
	}
	return nil
}

// String formats the age in the syntax of the flags.
func (a age) String() string { return duration.Format(a.d) }
