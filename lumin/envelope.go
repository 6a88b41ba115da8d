package lumin

import (
	"strings"
	"time"
)

// Envelope identifies an event. No two events have the same three values, and
// every repetition of one event repeats them. The rest of the body may differ
// between repetitions.
type Envelope struct {
	SignatureRequestID string    // opaque; 1 to 255 bytes of Unicode without NUL
	EventType          EventType // same limits; documented or not
	EventTime          time.Time // UTC, whole milliseconds, from 1970 to 9999
}

// UnrecognizedError is the reason why a body does not identify an event.
// Sending the same body again cannot fix that.
type UnrecognizedError struct {
	// Reason is one of a fixed set of phrases, such as "event_time is missing".
	// It contains nothing from the body, so it can be logged and used as a
	// metric label.
	Reason string
}

func (e *UnrecognizedError) Error() string { return "unrecognized event: " + e.Reason }

// maxText is the maximum length of an id or a type, in bytes.
const maxText = 255

// DecodeEnvelope returns the identity of the event that a delivery's body
// reports. The error is always an [*UnrecognizedError].
//
// DecodeEnvelope never guesses, because a wrong guess would merge two events or
// split one. It accepts a body only under these conditions:
//
//   - The body is one JSON object with nothing but white space around it.
//   - The object has the members event and signature_request, which are
//     objects. event has the members event_time and event_type.
//     signature_request has the member signature_request_id. Each of these five
//     appears exactly once. Its name matches by case, with or without JSON
//     escapes.
//   - event_time is from 1 to 253402300799999 milliseconds. It is an integer of
//     digits only, or a string of digits.
//   - The id and the type are strings of 1 to 255 bytes, counted in UTF-8 after
//     unescaping, without NUL, lone surrogates or bytes that are not UTF-8.
//
// All other members may be missing, repeated, of any type and nested to any
// depth.
func DecodeEnvelope(body []byte) (Envelope, error) {
	var event, eventTime, eventType, request, requestID countedMember
	reason := scanMembers(body, func(m member) {
		switch {
		case m.isTop("event"):
			event.add(m)
		case m.isTop("signature_request"):
			request.add(m)
		case m.isIn("event", "event_time"):
			eventTime.add(m)
		case m.isIn("event", "event_type"):
			eventType.add(m)
		case m.isIn("signature_request", "signature_request_id"):
			requestID.add(m)
		}
	})

	d := envelopeDecoder{wrong: reason}
	d.object("event", event)
	d.object("signature_request", request)
	e := Envelope{ // checked in this order
		EventTime:          d.time("event_time", eventTime),
		EventType:          EventType(d.text("event_type", eventType)),
		SignatureRequestID: d.text("signature_request_id", requestID),
	}
	if d.wrong != "" {
		return Envelope{}, &UnrecognizedError{Reason: d.wrong}
	}
	return e, nil
}

// countedMember is a member that must appear exactly once.
type countedMember struct {
	member
	count int
}

func (o *countedMember) add(m member) {
	o.member = m
	o.count++
}

// envelopeDecoder checks one member after another. It keeps the first problem
// and skips all later checks.
type envelopeDecoder struct {
	wrong string
}

func (d *envelopeDecoder) object(name string, o countedMember) {
	if d.once(name, o) && !o.isObject() {
		d.wrong = name + " is not an object"
	}
}

func (d *envelopeDecoder) time(name string, o countedMember) time.Time {
	if !d.once(name, o) {
		return time.Time{}
	}
	at, wrong := unixMillis(o.value)
	if wrong != "" {
		d.wrong = name + " " + wrong
	}
	return at
}

func (d *envelopeDecoder) text(name string, o countedMember) string {
	if !d.once(name, o) {
		return ""
	}
	if o.value[0] != '"' {
		d.wrong = name + " is not a string"
		return ""
	}
	text, unicode := unquote(o.value)
	switch {
	case !unicode:
		d.wrong = name + " is not Unicode"
	case text == "":
		d.wrong = name + " is empty"
	case len(text) > maxText:
		d.wrong = name + " is longer than 255 bytes"
	case strings.IndexByte(text, 0) >= 0:
		d.wrong = name + " contains NUL"
	}
	return text
}

// once reports whether o appears exactly once and no earlier check failed.
func (d *envelopeDecoder) once(name string, o countedMember) bool {
	switch {
	case d.wrong != "":
	case o.count == 0:
		d.wrong = name + " is missing"
	case o.count > 1:
		d.wrong = name + " appears twice"
	}
	return d.wrong == ""
}
