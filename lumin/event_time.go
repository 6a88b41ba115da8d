package lumin

import "time"

// earliest is before any event: Lumin Sign did not exist, and the oldest example in
// Lumin's documentation is from 2023. A time before it is in another unit. Any
// time in seconds, read as milliseconds, is before 2015. Microseconds and
// nanoseconds since 2015 are beyond the year 9999, which [DecodeEnvelope] refuses.
//
//nolint:gochecknoglobals // a constant, if Go had such
var earliest = time.Date(2015, time.January, 1, 0, 0, 0, 0, time.UTC)

// lastAsSeconds is the end of the year 2099, as seconds that are read as
// milliseconds.
const lastAsSeconds = 4102444800

// CheckTime returns an [*UnrecognizedError] if EventTime cannot be the time of an
// event: it is before 2015, which is what a time in seconds comes to. A receiver
// treats such a delivery like one that DecodeEnvelope refuses. CheckTime is apart
// from DecodeEnvelope so that events that were stored before it was there can be
// read as they are.
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
