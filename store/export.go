package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

// EventBody is the rest of an event: what an import into another database needs.
type EventBody struct {
	KeyID            string     `json:"key_id"`
	Signature        string     `json:"signature"` // of the first delivery, in hex
	Payload          []byte     `json:"payload"`   // the exact bytes; nil once removed
	PayloadSHA256    string     `json:"payload_sha256"`
	PayloadRemovedAt *time.Time `json:"payload_removed_at"`

	DecodedFrom *EventRef `json:"decoded_from,omitempty"` // the unrecognized event that it was decoded from
	DecodedTo   *EventRef `json:"decoded_to,omitempty"`   // the event that was decoded from this unrecognized one
	PromotedOf  *EventRef `json:"promoted_of,omitempty"`  // the event that promoted_from names by its id

	RepeatedBodies []RepeatedBody `json:"repeated_bodies,omitempty"`
}

// EventRef names an event in every database.
type EventRef struct {
	Key    string `json:"event_key"`
	Source string `json:"source"`
}

// RepeatedBody is one row of lumin.redeliveries.
type RepeatedBody struct {
	PayloadSHA256 string    `json:"payload_sha256"` // in hex; empty: bodies that are not kept, counted together
	Differs       string    `json:"differs"`
	Payload       []byte    `json:"payload,omitempty"` // nil if it is not kept
	Count         int64     `json:"count"`
	FirstAt       time.Time `json:"first_at"`
	LastAt        time.Time `json:"last_at"`

	// Of a conflict, and of the original of a recovered event.
	Source       *string    `json:"source,omitempty"`
	Signature    *string    `json:"signature,omitempty"` // in hex
	KeyID        *string    `json:"key_id,omitempty"`
	AnotherActor bool       `json:"another_actor,omitempty"`
	PromotedKey  *string    `json:"promoted_key,omitempty"`
	Decision     *string    `json:"decision,omitempty"`
	DecidedAt    *time.Time `json:"decided_at,omitempty"`
	DecidedBy    *string    `json:"decided_by,omitempty"`
	Reason       *string    `json:"decision_reason,omitempty"`
	PromotedTo   *EventRef  `json:"promoted_to,omitempty"` // the event that was made from this body
}

// ref returns the EventRef of a row of an outer join.
func ref(key, source *string) *EventRef {
	if key == nil {
		return nil
	}
	return &EventRef{*key, *source}
}

const bodiesSQL = `
SELECT e.id, e.key_id, pg_catalog.encode(e.signature, 'hex'), e.payload, pg_catalog.encode(e.payload_sha256, 'hex'), e.payload_removed_at,
       f.event_key::text, f.source, t.event_key::text, t.source, p.event_key::text, p.source
FROM lumin.events e
LEFT JOIN lumin.events f ON f.id = e.decoded_from
LEFT JOIN lumin.events t ON t.decoded_from = e.id
LEFT JOIN lumin.events p ON p.id = e.promoted_from
WHERE e.id = ANY ($1)`

// addBodies adds the signed body to each of a few events. An event that retention has
// just removed gets none.
func (s *Store) addBodies(ctx context.Context, events []EventSummary) error {
	ids, byID := make([]int64, len(events)), map[int64]*EventSummary{}
	for i := range events {
		ids[i], byID[events[i].ID] = events[i].ID, &events[i]
	}
	var (
		id                                         int64
		b                                          EventBody
		fromKey, fromSource, toKey, toSource, k, o *string
	)
	return query.Each(ctx, s.pool, "load bodies", []any{
		&id, &b.KeyID, &b.Signature, &b.Payload, &b.PayloadSHA256, &b.PayloadRemovedAt, &fromKey, &fromSource, &toKey, &toSource, &k, &o,
	}, func() error {
		b.DecodedFrom, b.DecodedTo, b.PromotedOf = ref(fromKey, fromSource), ref(toKey, toSource), ref(k, o)
		body := b
		byID[id].EventBody = &body
		return nil
	}, bodiesSQL, ids)
}

const repeatedBodiesSQL = `
SELECT pg_catalog.encode(d.payload_sha256, 'hex'), d.differs, d.payload, d.count, d.first_at, d.last_at, d.source,
       pg_catalog.encode(d.signature, 'hex'), d.key_id, d.another_actor, d.promoted_key::text,
       d.decision, d.decided_at, d.decided_by, d.decision_reason, p.event_key::text, p.source
FROM lumin.redeliveries d LEFT JOIN lumin.events p ON p.id = d.promoted_id
WHERE d.event_id = $1 ORDER BY d.payload_sha256`

// addRepeated adds the repeated bodies to an event that has its body. They are read
// event by event, because there may be ten of 1 MiB.
func (s *Store) addRepeated(ctx context.Context, e EventSummary) (err error) {
	if e.EventBody == nil || e.Redeliveries == 0 {
		return nil
	}
	e.RepeatedBodies, err = query.Rows(ctx, s.pool, fmt.Sprintf("load redeliveries of event %d", e.ID), func(row pgx.CollectableRow) (b RepeatedBody, err error) {
		var key, source *string
		err = row.Scan(&b.PayloadSHA256, &b.Differs, &b.Payload, &b.Count, &b.FirstAt, &b.LastAt, &b.Source, &b.Signature, &b.KeyID,
			&b.AnotherActor, &b.PromotedKey, &b.Decision, &b.DecidedAt, &b.DecidedBy, &b.Reason, &key, &source)
		b.PromotedTo = ref(key, source)
		return b, err
	}, repeatedBodiesSQL, e.ID)
	return err
}
