package transfer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/internal/actor"
)

// event is a line that has been checked.
type event struct {
	store.EventSummary
	key       [16]byte
	sha256    []byte
	signature []byte
	repeated  []repeated
	size      int // of its bodies
}

// repeated is a redelivery of an event.
type repeated struct {
	store.RepeatedBody
	sha256, signature []byte
	promotedKey       *[16]byte
}

// ErrNoBodies means that a line was exported without its body.
var ErrNoBodies = errors.New("the line has no body: export with --payload")

// parse reads a line and checks it. Errors name no values, because a line holds
// personal data.
func parse(line []byte) (*event, error) {
	e := &event{}
	if err := json.Unmarshal(line, &e.EventSummary); err != nil {
		return nil, errors.New("it is not a line of an export: its JSON is invalid or cut off")
	}
	if e.EventBody == nil {
		return nil, ErrNoBodies
	}
	for _, check := range []func() error{e.decode, e.checkBody, e.checkIdentity, e.checkRepeated} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// decode reads the members that are not plain values.
func (e *event) decode() error {
	key, err := lumin.ParseEventKey(e.Key)
	if err != nil {
		return errors.New("event_key is invalid")
	}
	e.key = key
	if e.sha256, err = hex.DecodeString(e.PayloadSHA256); err != nil || len(e.sha256) != sha256.Size {
		return errors.New("payload_sha256 is invalid")
	}
	if e.signature, err = hex.DecodeString(e.Signature); err != nil {
		return errors.New("signature is invalid")
	}
	recovered := e.Source == store.RecoveredSource
	switch {
	case !recovered && !store.ValidSource(e.Source):
		return errors.New("source is invalid")
	case recovered != (len(e.signature) == 0):
		return errors.New("signature does not fit source")
	case !plausible(e.ReceivedAt):
		return errors.New("received_at is missing or invalid")
	}
	return checkRefs(e.DecodedFrom, e.DecodedTo, e.PromotedOf)
}

// checkRefs checks the names of related events.
func checkRefs(refs ...*store.EventRef) error {
	for _, ref := range refs {
		if ref == nil {
			continue
		}
		if _, err := lumin.ParseEventKey(ref.Key); err != nil {
			return errors.New("the event_key of a related event is invalid")
		}
	}
	return nil
}

// parsed is a name that checkRefs has checked.
func parsed(ref *store.EventRef) identity {
	key, _ := lumin.ParseEventKey(ref.Key)
	return identity{key, ref.Source}
}

// plausible reports whether PostgreSQL and JSON can both hold a time.
func plausible(t time.Time) bool { return t.Year() >= 1970 && t.Year() <= 9998 }

func (e *event) checkBody() error {
	e.size = len(e.Payload)
	switch removed := e.PayloadRemovedAt != nil; {
	case removed && (e.Payload != nil || !plausible(*e.PayloadRemovedAt)):
		return errors.New("payload and payload_removed_at contradict each other")
	case removed:
		return nil
	case e.Payload == nil:
		return ErrNoBodies
	}
	if sum := sha256.Sum256(e.Payload); !bytes.Equal(sum[:], e.sha256) {
		return errors.New("payload does not have the hash payload_sha256")
	}
	return nil
}

// checkIdentity compares the identity in the line with the body. Without a body it
// compares the members with each other.
func (e *event) checkIdentity() error {
	named := e.named()
	switch {
	case named == nil && (e.SignatureRequestID != nil || e.EventType != nil || e.EventTime != nil):
		return errors.New("signature_request_id, event_type and event_time must be there together")
	case named == nil && e.Payload != nil && lumin.UnrecognizedKey(e.Payload) != e.key:
		return errors.New("event_key does not fit payload")
	case named == nil:
		return nil
	}
	promoted := e.PromotedFrom != nil || e.PromotedOf != nil
	if e.Payload == nil {
		if !promoted && named.Key() != e.key {
			return errors.New("event_key does not fit signature_request_id, event_type and event_time")
		}
		return nil
	}
	envelope, err := lumin.DecodeEnvelope(e.Payload)
	switch {
	case err != nil || envelope.SignatureRequestID != named.SignatureRequestID || envelope.EventType != named.EventType ||
		!envelope.EventTime.Equal(named.EventTime):
		return errors.New("signature_request_id, event_type or event_time does not fit payload")
	case !promoted && envelope.Key() != e.key, promoted && actor.PromotedKey(envelope.Key(), e.Payload) != e.key:
		return errors.New("event_key does not fit payload")
	}
	return nil
}

// named is the identity in the line; nil if it is not complete.
func (e *event) named() *lumin.Envelope {
	if e.SignatureRequestID == nil || e.EventType == nil || e.EventTime == nil {
		return nil
	}
	return &lumin.Envelope{SignatureRequestID: *e.SignatureRequestID, EventType: lumin.EventType(*e.EventType), EventTime: *e.EventTime}
}

func (e *event) checkRepeated() error {
	for i, b := range e.RepeatedBodies {
		r := repeated{RepeatedBody: b}
		if err := r.decode(); err != nil {
			return fmt.Errorf("repeated body %d: %w", i+1, err)
		}
		e.repeated = append(e.repeated, r)
		e.size += len(b.Payload)
	}
	return nil
}

// The values of redeliveries.differs and of redeliveries.decision.
var (
	differences = []string{"nothing", "details_url", "content", "unknown", "recovered"} //nolint:gochecknoglobals // constant
	decisions   = []string{"promoted", "dismissed"}                                     //nolint:gochecknoglobals // constant
)

func (r *repeated) decode() (err error) {
	if r.sha256, err = hex.DecodeString(r.PayloadSHA256); err != nil {
		return errors.New("payload_sha256 is invalid")
	}
	if r.Signature != nil {
		if r.signature, err = hex.DecodeString(*r.Signature); err != nil {
			return errors.New("signature is invalid")
		}
	}
	if r.PromotedKey != nil {
		key, err := lumin.ParseEventKey(*r.PromotedKey)
		if err != nil {
			return errors.New("promoted_key is invalid")
		}
		r.promotedKey = (*[16]byte)(&key)
	}
	decided := r.Decision != nil
	switch {
	case !slices.Contains(differences, r.Differs) || r.Count < 1 || !plausible(r.FirstAt) || !plausible(r.LastAt):
		return errors.New("differs, count, first_at or last_at is invalid")
	case decided != (r.DecidedAt != nil) || decided != (r.DecidedBy != nil) || decided != (r.Reason != nil),
		decided && !slices.Contains(decisions, *r.Decision):
		return errors.New("the decision is not complete")
	}
	if err := checkRefs(r.PromotedTo); err != nil || r.Payload == nil {
		return err
	}
	if sum := sha256.Sum256(r.Payload); !bytes.Equal(sum[:], r.sha256) {
		return errors.New("payload does not have the hash payload_sha256")
	}
	return nil
}
