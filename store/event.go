package store

import (
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
	ReceivedAt time.Time
}
