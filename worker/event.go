package worker

import (
	"strconv"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// Event is the stored event that a job type works on, as one source reported
// it.
type Event struct {
	ID     int64          // of the row in lumin.events; differs between sources
	Key    lumin.EventKey // the same for every source that reports the event
	Source string         // "account" or "app:NAME"; "recovered" if Recovered

	SignatureRequestID string
	Type               lumin.EventType
	Time               time.Time // of the event, in UTC and whole milliseconds

	// Payload is the body of the delivery: the exact bytes that Lumin signed.
	// It is empty if retention or an erasure has removed it.
	Payload    []byte
	Signature  []byte    // Lumin's signature of Payload: 32 bytes, X-Signature decoded from hexadecimal
	ReceivedAt time.Time // when the first delivery arrived

	// Recovered is true if no webhook reported the event. It was made from an answer
	// of Lumin's API: Payload holds that answer under "signature_request" and has a
	// member "recovered" beside it. Signature is empty, Time is when the signature
	// request last changed, and the source that should have reported it is not known.
	Recovered bool

	JobKind string // the Kind of the job type
	Rerun   int    // replays that asked for a further effect after the run had succeeded
}

// The two types must have the same fields: a job type sees all that the store
// has loaded for it.
var _ = (*Event)((*store.Event)(nil))

// IdempotencyKey returns the key that a job type passes to another system, so
// that the system can drop repetitions of the effect. It is a UUID in text
// form, derived from the event key and the kind of the job type.
//
// The key is the same for every attempt, for every replay of a failed run, for
// every source that reports the event, and in every database that holds it. It
// changes only when a replay asks for a further effect of a succeeded run.
func (e *Event) IdempotencyKey() string {
	effect := e.JobKind
	if e.Rerun > 0 {
		effect += "/" + strconv.Itoa(e.Rerun) // no kind contains a slash
	}
	return e.Key.Derive(effect).String()
}
