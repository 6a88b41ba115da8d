package store

import (
	"strconv"
	"time"

	"lumin-ingest/lumin"
)

// Event is one stored event of one source, as job types receive it.
type Event struct {
	ID     int64
	Key    lumin.EventKey // the same for every source that reports this event
	Source string         // "account" or "app:NAME"

	// SignatureRequestID, Type and Time are zero in an unrecognized event. Time
	// is in UTC and has whole milliseconds.
	SignatureRequestID string
	Type               lumin.EventType
	Time               time.Time

	Payload    []byte // the exact bytes that were signed; nil once retention or erasure removed them
	Signature  []byte // Lumin's signature of them: 32 bytes, which X-Signature had in hexadecimal
	ReceivedAt time.Time

	// JobKind and Again tell the run that this event was loaded for; both are zero
	// otherwise. Again counts the replays that have asked for a succeeded run to
	// take effect once more.
	JobKind string
	Again   int
}

// IdempotencyKey is what a job type hands to another system, so that this can drop
// repetitions of its effect: a UUID in text form, made of the event's key and the
// job type's kind. It is the same for every attempt and every replay of a failed
// run, whichever source reported the event, and in every database that holds it. It
// is another one only once a replay has asked for a succeeded run again.
func (e *Event) IdempotencyKey() string {
	effect := e.JobKind
	if e.Again > 0 {
		effect += "/" + strconv.Itoa(e.Again) // no kind has a slash
	}
	return e.Key.Derive(effect).String()
}
