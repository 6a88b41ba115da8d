package lumin

import (
	"strings"
	"time"
)

// Envelope is what identifies an event: no two events have all three alike, and
// Lumin's repetitions of one event repeat them. The rest of the body may differ
// from one repetition to the next.
type Envelope struct {
	SignatureRequestID string    // opaque; 1 to 255 bytes of Unicode without NUL
	EventType          EventType // likewise, documented or not
	EventTime          time.Time // UTC, whole milliseconds, from 1970 to 9999
}

// UnrecognizedError says why a body does not identify an event. Sending the body
// again cannot mend it.
type UnrecognizedError struct {
	// Reason is one of a fixed set of phrases, such as "event_time is missing".
	// It holds nothing of the body, so it may be logged and counted by.
	Reason string
}

func (e *UnrecognizedError) Error() string { return "unrecognized event: " + e.Reason }

// maxText is how many bytes an id or a type may have.
const maxText = 255

// DecodeEnvelope reads from a delivery's body which event it reports. The error
// is always an [*UnrecognizedError].
//
// It takes no guesses, because a wrong one would merge two events or split one:
//
//   - The body is one JSON object with nothing but white space around it.
//   - event and signature_request are members of it, and objects; event_time and
//     event_type are members of event; signature_request_id is a member of
//     signature_request. Each is there once, in exactly this case, whether or
//     not its name is written with escapes.
//   - event_time is from 1 to 253402300799999 milliseconds, written as an integer
//     in digits only or as a string of digits.
//   - The id and the type are strings of 1 to 255 bytes, counted in UTF-8 after
//     unescaping, without NUL, lone surrogates or bytes that are not UTF-8.
//
// Everything else in the body may be missing, repeated, of any type and nested
// to any depth.
func DecodeEnvelope(body []byte) (Envelope, error) {
	var event, eventTime, eventType, request, requestID only
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

// only is a member of which there should be one.
type only struct {
	member
	count int
}

func (o *only) add(m member) {
	o.member = m
	o.count++
}

// envelopeDecoder reads one member after the other until something is wrong.
type envelopeDecoder struct {
	wrong string
}

func (d *envelopeDecoder) object(name string, o only) {
	if d.once(name, o) && !o.isObject() {
		d.wrong = name + " is not an object"
	}
}

func (d *envelopeDecoder) time(name string, o only) time.Time {
	if !d.once(name, o) {
		return time.Time{}
	}
	at, wrong := unixMillis(o.value)
	if wrong != "" {
		d.wrong = name + " " + wrong
	}
	return at
}

func (d *envelopeDecoder) text(name string, o only) string {
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

// once reports whether o is there once and nothing was wrong before.
func (d *envelopeDecoder) once(name string, o only) bool {
	switch {
	case d.wrong != "":
	case o.count == 0:
		d.wrong = name + " is missing"
	case o.count > 1:
		d.wrong = name + " appears twice"
	}
	return d.wrong == ""
}
