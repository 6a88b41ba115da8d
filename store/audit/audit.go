package audit

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
	"lumin-ingest/lumin"
	"lumin-ingest/store/internal/actor"
)

// Result is the result of an audit.
type Result struct {
	Checked      int64 // events with a body
	Redeliveries int64 // bodies of redeliveries
	Removed      int64 // events whose body retention or erasure has removed
	Tampered     int64 // events that differ from their body, or with a redelivery that does

	// Recovered events are among the checked ones. They were made from answers of
	// Lumin's API, so they have no signature.
	Recovered int64

	// Revoked are the keys of events whose signature could not be checked,
	// because the source no longer has the key.
	Revoked []RevokedKey
}

// RevokedKey is a key that is no longer configured, and its use.
type RevokedKey struct {
	KeyUse
	Events int64
}

// Finding is an event that differs from its recording.
type Finding struct {
	EventID    int64
	Source     string
	ReceivedAt time.Time // the zero time if it was made infinite
	What       string    // the first two columns that contradict each other
}

// pageSize is how many events one query returns. They are not held in memory:
// each is checked as it arrives.
const pageSize = 1000

// receivedEarly is how much earlier than its event_time a delivery may have
// been received. An ingester refuses a delivery whose event_time is further
// ahead of its clock.
const receivedEarly = 10 * time.Minute

const (
	// The time is the database's: the clock of the machine that runs the audit
	// may be wrong. The receiving program's clock set the time of receipt, so
	// the two may differ by an hour.
	eventsSQL = `
SELECT id, event_key, source, source = 'recovered', signature_request_id, event_type, event_time, decoded_from IS NOT NULL, promoted_from IS NOT NULL,
       payload, payload_sha256, signature, key_id, received_at,
       isfinite(received_at) AND received_at <= clock_timestamp() + interval '1 hour'
FROM lumin.events
WHERE (received_at, id) > ($1, $2) AND ($3::timestamptz IS NULL OR received_at < $3)
ORDER BY received_at, id LIMIT $4`

	redeliveriesSQL = `
SELECT d.event_id, d.payload, d.payload_sha256, e.source, e.received_at, d.source, d.signature, d.key_id
FROM lumin.redeliveries d
JOIN lumin.events e ON e.id = d.event_id
WHERE d.event_id = ANY ($1) AND d.payload IS NOT NULL
ORDER BY d.event_id`
)

// event is a row of eventsSQL. Its bytes are those of the connection
// and valid until the next row.
type event struct {
	id                 int64
	key                [16]byte
	source             string
	recovered          bool // not delivered by a webhook
	signatureRequestID *string
	eventType          *string
	eventTime          pgtype.Timestamptz // tampering may have made it infinite
	decoded            bool               // later than it was received
	promoted           bool               // from a conflict of another event
	payload            pgtype.DriverBytes // nil: removed
	payloadSHA256      pgtype.DriverBytes
	signature          pgtype.DriverBytes
	keyID              string
	receivedAt         pgtype.Timestamptz // tampering may have made it infinite
	possible           bool               // whether the event can have been received at receivedAt
}

// redelivery is a row of redeliveriesSQL. The last three columns are those of a
// conflict, and of the original of a recovered event.
type redelivery struct {
	Finding       // of the event
	payload       pgtype.DriverBytes
	payloadSHA256 pgtype.DriverBytes
	source        *string
	signature     pgtype.DriverBytes
	keyID         *string
}

// Range bounds the time of receipt of the events to check: at or after Since,
// before Until. nil is no bound. Without bounds every event is checked, even if
// its received_at was altered.
type Range struct{ Since, Until *time.Time }

// Run compares the hash, the signature and the identity of events with their
// bodies. It calls found for each finding and continues, until found returns an
// error. keyrings are the keys of each source. Memory does not grow with the
// number or the size of the events.
func Run(ctx context.Context, pool *pgxpool.Pool, within Range, keyrings map[string]*lumin.Keyring, found func(Finding) error) (Result, error) {
	a := auditor{keyrings: keyrings, revoked: map[[2]string]*RevokedKey{}, found: found}
	after := event{id: math.MinInt64, receivedAt: pgtype.Timestamptz{InfinityModifier: pgtype.NegativeInfinity, Valid: true}}
	if within.Since != nil {
		after.receivedAt = pgtype.Timestamptz{Time: *within.Since, Valid: true}
	}
	for more := true; more; {
		ids := make([]int64, 0, pageSize)
		a.reported = map[int64]bool{}
		e := &after
		err := query.Each(ctx, pool, "audit events", []any{
			&e.id, &e.key, &e.source, &e.recovered, &e.signatureRequestID, &e.eventType, &e.eventTime, &e.decoded, &e.promoted,
			&e.payload, &e.payloadSHA256, &e.signature, &e.keyID, &e.receivedAt, &e.possible,
		}, func() error {
			ids = append(ids, e.id)
			return a.event(e)
		}, eventsSQL, pgx.QueryExecModeCacheDescribe, after.receivedAt, after.id, within.Until, pageSize)
		if err != nil {
			return a.Result, err
		}
		if err := a.redeliveries(ctx, pool, ids); err != nil {
			return a.Result, err
		}
		more = len(ids) == pageSize
	}
	for _, use := range a.revoked {
		a.Revoked = append(a.Revoked, *use)
	}
	slices.SortFunc(a.Revoked, func(x, y RevokedKey) int {
		return cmp.Or(cmp.Compare(x.Source, y.Source), x.FirstAt.Compare(y.FirstAt), cmp.Compare(x.KeyID, y.KeyID))
	})
	return a.Result, nil
}

// auditor holds the state of one run.
type auditor struct {
	Result
	keyrings map[string]*lumin.Keyring
	revoked  map[[2]string]*RevokedKey // by source and key
	found    func(Finding) error
	reported map[int64]bool // events of this page with a finding
}

func (a *auditor) redeliveries(ctx context.Context, pool *pgxpool.Pool, ids []int64) error {
	var (
		r          redelivery
		receivedAt pgtype.Timestamptz
	)
	return query.Each(ctx, pool, "audit redeliveries", []any{
		&r.EventID, &r.payload, &r.payloadSHA256, &r.Source, &receivedAt, &r.source, &r.signature, &r.keyID,
	}, func() error {
		r.ReceivedAt = receivedAt.Time
		return a.redelivery(r)
	}, redeliveriesSQL, pgx.QueryExecModeCacheDescribe, ids)
}

func (a *auditor) event(e *event) error {
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
	return a.report(Finding{EventID: e.id, Source: e.source, ReceivedAt: e.receivedAt.Time, What: what})
}

func (a *auditor) checkBody(e *event) string {
	var what string
	if e.recovered {
		a.Recovered++
		what = e.checkRecovered()
	} else {
		what = a.checkSignature(e) // in any case, for the use of keys
	}
	if sum := sha256.Sum256(e.payload); !bytes.Equal(sum[:], e.payloadSHA256) {
		what = "payload and payload_sha256"
	}
	return cmp.Or(what, e.checkIdentity())
}

func (a *auditor) redelivery(r redelivery) error {
	a.Redeliveries++
	if sum := sha256.Sum256(r.payload); !bytes.Equal(sum[:], r.payloadSHA256) {
		r.What = "payload and payload_sha256 of a redelivery"
		return a.report(r.Finding)
	}
	if r.source == nil || r.keyID == nil || a.keyrings[*r.source] == nil {
		return nil
	}
	keyring := a.keyrings[*r.source]
	match, err := keyring.Verify(r.payload, signatureHeader(r.signature))
	switch {
	case err == nil && match.KeyID != *r.keyID:
		r.What = "payload and key_id of a redelivery"
	case err != nil && slices.Contains(keyring.KeyIDs(), *r.keyID):
		r.What = "payload and signature of a redelivery"
	default:
		return nil
	}
	return a.report(r.Finding)
}

// report counts an event once, even if several of its redeliveries differ.
func (a *auditor) report(f Finding) error {
	if !a.reported[f.EventID] {
		a.reported[f.EventID] = true
		a.Tampered++
	}
	return a.found(f)
}

// checkSignature tries all keys of the source. It therefore finds a row that
// falsely claims a key that is no longer configured.
func (a *auditor) checkSignature(e *event) string {
	var (
		keyring = a.keyrings[e.source]
		match   lumin.Match
		known   bool
		err     = lumin.ErrSignatureMismatch
	)
	if keyring != nil {
		known = slices.Contains(keyring.KeyIDs(), e.keyID)
		match, err = keyring.Verify(e.payload, signatureHeader(e.signature))
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

func signatureHeader(signature []byte) http.Header {
	return http.Header{lumin.SignatureHeader: {hex.EncodeToString(signature)}}
}

// checkRecovered finds events that only claim to be recovered. The body of a
// recovered one says by whom it was, and it has no signature.
func (e *event) checkRecovered() string {
	var envelope struct {
		Recovered json.RawMessage `json:"recovered"`
	}
	switch {
	case len(e.signature) > 0:
		return "source and signature"
	case e.keyID != "":
		return "source and key_id"
	case json.Unmarshal(e.payload, &envelope) != nil || envelope.Recovered == nil:
		return "payload and source"
	}
	return ""
}

func (a *auditor) noteRevoked(e *event) {
	use := a.revoked[[2]string{e.source, e.keyID}]
	if use == nil {
		use = &RevokedKey{KeyUse: KeyUse{Source: e.source, KeyID: e.keyID}}
		a.revoked[[2]string{e.source, e.keyID}] = use
	}
	use.Events++
	if e.receivedAt.InfinityModifier != pgtype.Finite {
		return
	}
	use.LastAt = e.receivedAt.Time // events come in the order of receipt
	if use.FirstAt.IsZero() {
		use.FirstAt = use.LastAt
	}
}

// checkReceivedAt finds altered times of receipt, which hide an event from a
// range and from retention. An event that was decoded again has the time of its
// first reading, which did not depend on its event_time.
func (e *event) checkReceivedAt() string {
	switch {
	case !e.possible:
		return "received_at and the clock"
	case !e.decoded && e.eventTime.Valid && e.receivedAt.Time.Before(e.eventTime.Time.Add(-receivedEarly)):
		return "received_at and event_time"
	}
	return ""
}

// checkIdentity returns the column that contradicts the body. An event that was
// recorded as unrecognized may stay so, even if its body can be decoded now.
func (e *event) checkIdentity() string {
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
func (e *event) ownKey(envelope lumin.Envelope) lumin.EventKey {
	if e.promoted {
		return actor.PromotedKey(envelope.Key(), e.payload)
	}
	return envelope.Key()
}
