package lumin

import "time"

// earliest is older than any event. Lumin Sign did not exist then, and the
// oldest example in Lumin's documentation is from 2023. An earlier time must be
// in another unit: a present-day time in seconds, read as milliseconds, falls
// in 1970. Times since 2015 in microseconds or nanoseconds read as after the
// year 9999, and [DecodeEnvelope] refuses those.
//
//nolint:gochecknoglobals // Go has no constants of type time.Time
var earliest = time.Date(2015, time.January, 1, 0, 0, 0, 0, time.UTC)

// lastAsSeconds is the end of the year 2099 in Unix seconds. CheckTime compares
// it with milliseconds, to recognize times that were sent in seconds.
const lastAsSeconds = 4102444800

// CheckTime returns an [*UnrecognizedError] if EventTime is before 2015, which
// no event can be. The usual cause is a time in seconds. A receiver treats such
// a delivery like one that DecodeEnvelope refuses. CheckTime is separate from
// DecodeEnvelope because events that were stored before CheckTime existed must
// stay readable.
func (e Envelope) CheckTime() error {
	ms := e.EventTime.UnixMilli()
	switch {
	case !e.EventTime.Before(earliest):
		return nil
	case ms >= earliest.Unix() && ms < lastAsSeconds:
		return &UnrecognizedError{Reason: "event_time is in seconds"}
	default:
		return &UnrecognizedError{Reason: "event_time is before 2015"}
	}
}
