package store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"lumin-ingest/lumin"
)

// Audit is what was checked, and what came of it.
type Audit struct {
	Checked      int64 // events whose body was there to be checked
	Redeliveries int64 // bodies of redeliveries that were checked
	Removed      int64 // events whose body retention or erasure has removed
	Tampered     int64 // events that do not fit their body, or have a redelivery that does not

	// Revoked are the keys of events whose signature could not be checked, because
	// the key is not among those of the source.
	Revoked []RevokedUse
}

// RevokedUse is the use of a key that is not configured any more.
type RevokedUse struct {
	KeyUse
	Events int64
}

// Tampered is an event that is not as it was recorded.
type Tampered struct {
	EventID    int64
	Source     string
	ReceivedAt time.Time // the zero time if it was made infinite
	What       string    // the first two things that do not fit each other
}

// auditPage is how many events one query returns. They are not held: each is
// looked at as it arrives.
const auditPage = 1000

// receivedEarly is how much earlier than its event_time a delivery may have been
// received: its ingester refuses what is further ahead of its clock.
const receivedEarly = 10 * time.Minute

const (
	// The time is the database's: the clock of the machine that runs the audit may be
	// wrong. The receiving program's clock set the time of receipt, so the two may
	// differ by an hour.
	auditEventsSQL = `
SELECT id, event_key, source, signature_request_id, event_type, event_time, decoded_from IS NOT NULL, promoted_from IS NOT NULL,
       payload, payload_sha256, signature, key_id, received_at,
       isfinite(received_at) AND received_at <= clock_timestamp() + interval '1 hour'
FROM lumin.events
WHERE (received_at, id) > ($1, $2) AND ($3::timestamptz IS NULL OR received_at < $3)
ORDER BY received_at, id LIMIT $4`

	auditRedeliveriesSQL = `
SELECT d.event_id, d.payload, d.payload_sha256, e.source, e.received_at
FROM lumin.redeliveries d
JOIN lumin.events e ON e.id = d.event_id
WHERE d.event_id = ANY ($1) AND d.payload IS NOT NULL
ORDER BY d.event_id`
)

// auditedEvent is a row of auditEventsSQL. Its bytes are those of the connection
// and valid until the next row.
type auditedEvent struct {
	id                 int64
	key                [16]byte
	source             string
	signatureRequestID *string
	eventType          *string
	eventTime          pgtype.Timestamptz // which tampering may have made infinite
	decoded            bool               // later than it was received
	promoted           bool               // from a conflict of another event
	payload            pgtype.DriverBytes // nil: removed
	payloadSHA256      pgtype.DriverBytes
	signature          pgtype.DriverBytes
	keyID              string
	receivedAt         pgtype.Timestamptz // likewise
	possible           bool               // whether it can have been received by then
}

// Audit compares events received from since to before until with their bodies: hash,
// signature and identity. Without since and until (nil) no event is left out, whatever
// was made of its time. It calls tampered for each one that does not fit, and
// goes on. Memory does not grow with the number or the size of events.
func (s *Store) Audit(ctx context.Context, since, until *time.Time, keyrings map[string]*lumin.Keyring, tampered func(Tampered) error) (Audit, error) {
	a := auditor{keyrings: keyrings, revoked: map[[2]string]*RevokedUse{}, tampered: tampered}
	after := auditedEvent{id: math.MinInt64, receivedAt: pgtype.Timestamptz{InfinityModifier: pgtype.NegativeInfinity, Valid: true}}
	if since != nil {
		after.receivedAt = pgtype.Timestamptz{Time: *since, Valid: true}
	}
	for more := true; more; {
		ids := make([]int64, 0, auditPage)
		a.found = map[int64]bool{}
		rows, err := s.pool.Query(ctx, auditEventsSQL, pgx.QueryExecModeCacheDescribe, after.receivedAt, after.id, until, auditPage)
		if err != nil {
			return a.Audit, fmt.Errorf("audit events: %w", err)
		}
		e := &after
		_, err = pgx.ForEachRow(rows, []any{
			&e.id, &e.key, &e.source, &e.signatureRequestID, &e.eventType, &e.eventTime, &e.decoded, &e.promoted,
			&e.payload, &e.payloadSHA256, &e.signature, &e.keyID, &e.receivedAt, &e.possible,
		}, func() error {
			ids = append(ids, e.id)
			return a.event(e)
		})
		if err != nil {
			return a.Audit, fmt.Errorf("audit events: %w", err)
		}
		if err := s.auditRedeliveries(ctx, &a, ids); err != nil {
			return a.Audit, err
		}
		more = len(ids) == auditPage
	}
	for _, use := range a.revoked {
		a.Revoked = append(a.Revoked, *use)
	}
	slices.SortFunc(a.Revoked, func(x, y RevokedUse) int {
		return cmp.Or(cmp.Compare(x.Source, y.Source), x.FirstAt.Compare(y.FirstAt), cmp.Compare(x.KeyID, y.KeyID))
	})
	return a.Audit, nil
}

func (s *Store) auditRedeliveries(ctx context.Context, a *auditor, ids []int64) error {
	rows, err := s.pool.Query(ctx, auditRedeliveriesSQL, pgx.QueryExecModeCacheDescribe, ids)
	if err != nil {
		return fmt.Errorf("audit redeliveries: %w", err)
	}
	var (
		t          Tampered
		receivedAt pgtype.Timestamptz
		body, hash pgtype.DriverBytes
	)
	_, err = pgx.ForEachRow(rows, []any{&t.EventID, &body, &hash, &t.Source, &receivedAt}, func() error {
		t.ReceivedAt = receivedAt.Time
		return a.redelivery(t, body, hash)
	})
	if err != nil {
		return fmt.Errorf("audit redeliveries: %w", err)
	}
	return nil
}

// auditor keeps what an audit has found so far.
type auditor struct {
	Audit
	keyrings map[string]*lumin.Keyring
	revoked  map[[2]string]*RevokedUse // by source and key
	tampered func(Tampered) error
	found    map[int64]bool // events of this page that do not fit
}

func (a *auditor) event(e *auditedEvent) error {
	what := ""
	if e.payload == nil {
		a.Removed++
	} else {
		a.Checked++
		what = a.checkBody(e)
	}
	if what = cmp.Or(what, e.checkReceivedAt()); what == "" {
		return nil
	}
	return a.report(Tampered{EventID: e.id, Source: e.source, ReceivedAt: e.receivedAt.Time, What: what})
}

func (a *auditor) checkBody(e *auditedEvent) string {
	what := a.checkSignature(e) // in any case, for the use of keys
	if sum := sha256.Sum256(e.payload); !bytes.Equal(sum[:], e.payloadSHA256) {
		what = "payload and payload_sha256"
	}
	return cmp.Or(what, e.checkIdentity())
}

func (a *auditor) redelivery(t Tampered, body, hash []byte) error {
	a.Redeliveries++
	if sum := sha256.Sum256(body); bytes.Equal(sum[:], hash) {
		return nil
	}
	t.What = "payload and payload_sha256 of a redelivery"
	return a.report(t)
}

// report counts an event once, whatever is wrong with it.
func (a *auditor) report(t Tampered) error {
	if !a.found[t.EventID] {
		a.found[t.EventID] = true
		a.Tampered++
	}
	return a.tampered(t)
}

// checkSignature goes by all keys of the source: a row that only claims to have
// been signed with a key that is gone is found out.
func (a *auditor) checkSignature(e *auditedEvent) string {
	var (
		keyring = a.keyrings[e.source]
		match   lumin.Match
		known   bool
		err     = lumin.ErrSignatureMismatch
	)
	if keyring != nil {
		known = slices.Contains(keyring.KeyIDs(), e.keyID)
		match, err = keyring.Verify(e.payload, http.Header{lumin.SignatureHeader: {hex.EncodeToString(e.signature)}})
	}
	switch {
	case err == nil && match.KeyID != e.keyID:
		return "payload and key_id"
	case err != nil && known:
		return "payload and signature"
	case err != nil:
		a.noteRevoked(e)
	}
	return ""
}

func (a *auditor) noteRevoked(e *auditedEvent) {
	use := a.revoked[[2]string{e.source, e.keyID}]
	if use == nil {
		use = &RevokedUse{KeyUse: KeyUse{Source: e.source, KeyID: e.keyID}}
		a.revoked[[2]string{e.source, e.keyID}] = use
	}
	use.Events++
	if e.receivedAt.InfinityModifier != pgtype.Finite {
		return
	}
	use.LastAt = e.receivedAt.Time // events come by the time they were received
	if use.FirstAt.IsZero() {
		use.FirstAt = use.LastAt
	}
}

// checkReceivedAt finds times that were moved, which hides an event from a range
// and from retention. One that was decoded anew has the time of its first reading,
// which did not depend on its event_time.
func (e *auditedEvent) checkReceivedAt() string {
	switch {
	case !e.possible:
		return "received_at and the clock"
	case !e.decoded && e.eventTime.Valid && e.receivedAt.Time.Before(e.eventTime.Time.Add(-receivedEarly)):
		return "received_at and event_time"
	}
	return ""
}

// checkIdentity names a column that does not say what the body says. An event
// that was unrecognized stays so, even if its body could be read by now.
func (e *auditedEvent) checkIdentity() string {
	if e.signatureRequestID == nil {
		if lumin.UnrecognizedKey(e.payload) != e.key {
			return "payload and event_key"
		}
		return ""
	}
	envelope, err := lumin.DecodeEnvelope(e.payload)
	switch {
	case err != nil || envelope.SignatureRequestID != *e.signatureRequestID:
		return "payload and signature_request_id"
	case e.eventType == nil || string(envelope.EventType) != *e.eventType:
		return "payload and event_type"
	case !envelope.EventTime.Equal(e.eventTime.Time):
		return "payload and event_time"
	case e.ownKey(envelope) != e.key:
		return "payload and event_key"
	}
	return ""
}

// ownKey is the event key that follows from the body of the event.
func (e *auditedEvent) ownKey(envelope lumin.Envelope) lumin.EventKey {
	if e.promoted {
		return promotedKey(envelope.Key(), e.payload)
	}
	return envelope.Key()
}
