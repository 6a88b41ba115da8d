package store

import (
	"crypto/sha256"
	"errors"
	"time"

	"lumin-ingest/lumin"
)

// Errors that [Recorder.Record] returns. After ErrUnavailable and ErrTimeout
// the delivery may or may not be in the database. The sender repeats it, and
// Record recognizes the repetition.
var (
	ErrUnavailable = errors.New("the database did not record the delivery")
	ErrOverloaded  = errors.New("too many deliveries are waiting for the database")
	ErrTimeout     = errors.New("the delivery was not recorded in time")
)

// Delivery is one verified delivery to record.
type Delivery struct {
	Source     string          // "account" or "app:NAME"
	Envelope   *lumin.Envelope // nil when the event is unrecognized
	Payload    []byte          // the exact bytes that were signed; must not be changed afterwards
	Signature  []byte          // 32 bytes
	KeyID      string          // fingerprint of the secret that verified the delivery
	ReceivedAt time.Time
	Jobs       []JobSpec // each gets one run and one job if the event is new
	Late       bool      // authentic but too old; a new event then gets no runs, so Jobs must be empty
}

// key is the event key.
func (d *Delivery) key() lumin.EventKey {
	if d.Envelope == nil {
		return lumin.UnrecognizedKey(d.Payload)
	}
	return d.Envelope.Key()
}

// recoverable reports whether a recovered event may be stored in place of this
// delivery's event.
func (d *Delivery) recoverable() bool { return d.Envelope != nil && d.Envelope.EventType.Recoverable() }

// sha256 distinguishes the bodies of one event.
func (d *Delivery) sha256() [sha256.Size]byte { return sha256.Sum256(d.Payload) }

// Status is the result of recording a delivery.
type Status string

// The results of recording a delivery.
const (
	Recorded     Status = "recorded"     // a new event
	Duplicate    Status = "duplicate"    // a redelivery of an event that is stored
	Unrecognized Status = "unrecognized" // a new event without a valid identity
	Late         Status = "late"         // a new event that was too old; no job type gets it until it is replayed
)

// Receipt is the result of recording one delivery.
type Receipt struct {
	EventID  int64
	Status   Status
	Conflict bool // a redelivery whose content differs from the first delivery

	// Recovered marks a redelivery of a recovered event: the delivery is the event's
	// original.
	Recovered bool

	// AnotherActor marks a conflict in which the two bodies name different
	// signer_emails.
	AnotherActor bool
}
