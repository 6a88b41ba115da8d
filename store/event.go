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

	// JobKind and Rerun belong to the run that this event was loaded for. They
	// are zero if it was loaded for no run. Rerun is the number of replays that
	// have asked for the run to take effect once more after it had succeeded.
	JobKind string
	Rerun   int
}

// IdempotencyKey returns a UUID in text form, derived from the event's key and
// the job type's kind. A job type sends it to another system, which can then
// drop repetitions of the effect. The key is the same for every attempt, every
// source, every database and every replay of a failed run. Only a replay of a
// succeeded run changes it.
func (e *Event) IdempotencyKey() string {
	effect := e.JobKind
	if e.Rerun > 0 {
		effect += "/" + strconv.Itoa(e.Rerun) // no kind has a slash
	}
	return e.Key.Derive(effect).String()
}
