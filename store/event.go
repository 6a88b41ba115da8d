package store

import (
	"time"

	"lumin-ingest/lumin"
)

// Event is one stored event of one source.
type Event struct {
	ID     int64
	Key    lumin.EventKey // the same for every source that reports this event
	Source string         // "account", "app:NAME" or "recovered"

	// SignatureRequestID, Type and Time are zero in an unrecognized event. Time
	// is in UTC and has whole milliseconds.
	SignatureRequestID string
	Type               lumin.EventType
	Time               time.Time

	Payload    []byte // the exact bytes that were signed; nil once retention or erasure removed them
	Signature  []byte // Lumin's signature of Payload: the 32 bytes that X-Signature held in hex; empty if recovered
	ReceivedAt time.Time

	// Recovered is true if no webhook reported the event, and it was made from an
	// answer of Lumin's API.
	Recovered bool

	// JobKind and Rerun belong to the run that this event was loaded for. They
	// are zero if it was loaded for no run. Rerun is the number of replays that
	// have asked for the run to take effect once more after it had succeeded.
	JobKind string
	Rerun   int
}
