package transfer

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

const insertRedeliveriesSQL = `
INSERT INTO lumin.redeliveries (event_id, payload_sha256, differs, payload, count, first_at, last_at, another_actor, signature, key_id,
                                promoted_key, decision, decided_at, decided_by, decision_reason, source)
SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::text[], $4::bytea[], $5::bigint[], $6::timestamptz[], $7::timestamptz[],
                     $8::boolean[], $9::bytea[], $10::text[], $11::uuid[], $12::text[], $13::timestamptz[], $14::text[],
                     $15::text[], $16::text[])`

func insertRedeliveries(ctx context.Context, tx pgx.Tx, events []imported) (int64, error) {
	var (
		ids, counts                        []int64
		sums, payloads, signatures         [][]byte
		differs                            []string
		firsts, lasts                      []time.Time
		actors                             []bool
		keyIDs, decided, by, reasons, from []*string
		promoted                           []*[16]byte
		decidedAt                          []*time.Time
	)
	for _, e := range events {
		for _, r := range e.repeated {
			if e.bodiless { // as after an erasure
				r.Payload, r.promotedKey = nil, nil
			}
			ids, sums, differs, payloads = append(ids, e.id), append(sums, r.sha256), append(differs, r.Differs), append(payloads, r.Payload)
			counts, firsts, lasts, actors = append(counts, r.Count), append(firsts, r.FirstAt), append(lasts, r.LastAt), append(actors, r.AnotherActor)
			signatures, keyIDs, promoted, from = append(signatures, r.signature), append(keyIDs, r.KeyID), append(promoted, r.promotedKey), append(from, r.Source)
			decided, decidedAt, by, reasons = append(decided, r.Decision), append(decidedAt, r.DecidedAt), append(by, r.DecidedBy), append(reasons, r.Reason)
		}
	}
	if len(ids) == 0 {
		return 0, nil
	}
	tag, err := tx.Exec(ctx, insertRedeliveriesSQL, ids, sums, differs, payloads, counts, firsts, lasts, actors, signatures, keyIDs,
		promoted, decided, decidedAt, by, reasons, from)
	if err != nil {
		return 0, fmt.Errorf("insert redeliveries: %w", err)
	}
	return tag.RowsAffected(), nil
}

// insertOriginalsSQL keeps the body of an original as a redelivery of the recovered
// event that is stored in its place, as if it had been delivered late. Without the body
// of that event, which may have been erased, the original is only counted. An original
// that was kept before does not change.
const insertOriginalsSQL = `
INSERT INTO lumin.redeliveries (event_id, payload_sha256, differs, payload, count, first_at, last_at, another_actor, signature, key_id, source)
SELECT r.id, CASE WHEN k.kept THEN w.payload_sha256 ELSE '' END, CASE WHEN k.kept THEN 'recovered' ELSE 'unknown' END,
       CASE WHEN k.kept THEN w.payload END, w.count, w.first_at, w.last_at, false,
       CASE WHEN k.kept THEN w.signature END, CASE WHEN k.kept THEN w.key_id END, CASE WHEN k.kept THEN w.source END
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bytea[], $7::bytea[], $8::text[], $9::bigint[],
            $10::timestamptz[], $11::timestamptz[], $12::boolean[])
     AS w (event_key, source, signature_request_id, event_type, payload, payload_sha256, signature, key_id, count, first_at, last_at, erased)
CROSS JOIN LATERAL (
    SELECT id, payload_removed_at FROM lumin.events e
    WHERE e.source = 'recovered' AND e.signature_request_id = w.signature_request_id AND e.event_type = w.event_type OFFSET 0) r
CROSS JOIN LATERAL (SELECT r.payload_removed_at IS NULL AND w.payload IS NOT NULL AND NOT w.erased AS kept) k
WHERE NOT EXISTS (SELECT FROM lumin.events o WHERE o.event_key = w.event_key AND o.source = w.source OFFSET 0)
ORDER BY r.id, w.payload_sha256, w.source COLLATE "C"
ON CONFLICT DO NOTHING`

// insertOriginals keeps those of the events that were left out because they are the
// originals of recovered events.
func insertOriginals(ctx context.Context, tx pgx.Tx, events []*event, erased []string) (int64, error) {
	var (
		keys                       [][16]byte
		sources, requests, types   []string
		payloads, sums, signatures [][]byte
		keyIDs                     []string
		counts                     []int64
		firsts, lasts              []time.Time
		gone                       []bool
	)
	for _, e := range events {
		if e.recovered() || !e.recoverable() {
			continue
		}
		count, last := e.deliveries()
		keys, sources, requests, types = append(keys, e.key), append(sources, e.Source), append(requests, *e.SignatureRequestID), append(types, *e.EventType)
		payloads, sums, signatures, keyIDs = append(payloads, e.Payload), append(sums, e.sha256), append(signatures, e.signature), append(keyIDs, e.KeyID)
		counts, firsts, lasts = append(counts, count), append(firsts, e.ReceivedAt), append(lasts, last)
		gone = append(gone, slices.Contains(erased, *e.SignatureRequestID))
	}
	if len(keys) == 0 {
		return 0, nil
	}
	tag, err := tx.Exec(ctx, insertOriginalsSQL, keys, sources, requests, types, payloads, sums, signatures, keyIDs, counts, firsts, lasts, gone)
	if err != nil {
		return 0, fmt.Errorf("keep originals of recovered events: %w", err)
	}
	return tag.RowsAffected(), nil
}

// deliveries returns how often the body of an event was delivered, and when for the
// last time.
func (e *event) deliveries() (count int64, last time.Time) {
	count, last = 1, e.ReceivedAt
	for _, r := range e.repeated {
		if r.Differs != "nothing" {
			continue
		}
		if count += r.Count; r.LastAt.After(last) {
			last = r.LastAt
		}
	}
	return count, last
}
