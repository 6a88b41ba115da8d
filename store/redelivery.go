package store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
	"lumin-ingest/store/internal/actor"
)

// maxBodies is how many distinct bodies are kept of one event's redeliveries.
// Further bodies are counted together. A sender that changes every repetition
// can therefore not fill the disk.
const maxBodies = 10

// Differences between a redelivery and the first delivery.
const (
	differsNothing    = "nothing"
	differsDetailsURL = "details_url"
	differsContent    = "content"
	differsUnknown    = "unknown"   // the first body has been removed
	differsRecovered  = "recovered" // the event was recovered; this is its original
)

// redelivery is one row of lumin.redeliveries to add to.
type redelivery struct {
	eventID int64
	sha256  []byte // empty in the row that counts the bodies beyond maxBodies
	differs string
	payload []byte
	count   int64
	firstAt time.Time
	lastAt  time.Time

	evidence // zero unless differs is content or recovered
}

// evidence holds what promoting a conflict needs, and what an audit of the original
// of a recovered event needs.
type evidence struct {
	anotherActor bool
	signature    []byte
	keyID        *string
	promotedKey  *[16]byte
	source       *string // of the original; a trigger writes that of a conflict
}

// countRedeliveries counts deliveries of stored events and sets their receipts.
func countRedeliveries(ctx context.Context, tx pgx.Tx, groups []*group) error {
	originals, err := loadOriginals(ctx, tx, groups)
	if err != nil {
		return err
	}
	rows := make([]*redelivery, 0, len(groups))
	for _, g := range groups {
		rows = append(rows, redeliveriesOf(g, originals[g.identity])...)
	}
	if rows, err = mergeOverLimit(ctx, tx, rows); err != nil {
		return err
	}
	return upsertRedeliveries(ctx, tx, rows)
}

// redeliveriesOf groups the repeated deliveries of one event by body.
func redeliveriesOf(g *group, first *original) []*redelivery {
	var rows []*redelivery
	byBody := map[[sha256.Size]byte]*redelivery{}
	for _, d := range g.deliveries {
		row := byBody[d.sha256]
		if row == nil {
			row = compare(g.key, d, first)
			row.firstAt, row.lastAt = d.ReceivedAt, d.ReceivedAt
			byBody[d.sha256] = row
			rows = append(rows, row)
		}
		row.count++
		row.firstAt = earlier(row.firstAt, d.ReceivedAt)
		row.lastAt = later(row.lastAt, d.ReceivedAt)
		d.pending.receipt = Receipt{
			EventID: row.eventID, Status: Duplicate, Conflict: row.differs == differsContent, Recovered: first.recovered,
			AnotherActor: row.anotherActor,
		}
	}
	return rows
}

// compare finds the event that a repeated delivery belongs to, and the
// difference.
func compare(key lumin.EventKey, d *delivered, first *original) *redelivery {
	if row := sameEvent(d, first); row != nil {
		return row
	}
	if first.recovered && !first.removed {
		return &redelivery{
			eventID: first.id, sha256: d.sha256[:], differs: differsRecovered, payload: d.Payload,
			evidence: evidence{signature: d.Signature, keyID: &d.KeyID, source: &d.Source},
		}
	}
	for _, promoted := range first.promoted {
		if row := sameEvent(d, promoted); row != nil {
			return row
		}
	}
	if first.removed {
		// An erased body is not stored again with a redelivery.
		return &redelivery{eventID: first.id, sha256: []byte{}, differs: differsUnknown}
	}
	own := [16]byte(actor.PromotedKey(key, d.Payload))
	return &redelivery{eventID: first.id, sha256: d.sha256[:], differs: differsContent, payload: d.Payload, evidence: evidence{
		anotherActor: actor.Differ(first.payload, d.Payload), signature: d.Signature, keyID: &d.KeyID, promotedKey: &own,
	}}
}

// sameEvent returns nil unless the content of a delivery is known to be that of
// the event.
func sameEvent(d *delivered, first *original) *redelivery {
	switch {
	case bytes.Equal(d.sha256[:], first.sha256):
		return &redelivery{eventID: first.id, sha256: d.sha256[:], differs: differsNothing}
	case !first.removed && lumin.SameExceptDetailsURL(first.payload, d.Payload):
		return &redelivery{eventID: first.id, sha256: d.sha256[:], differs: differsDetailsURL, payload: d.Payload}
	}
	return nil
}

const keptBodiesSQL = `
SELECT d.*
FROM unnest($1::bigint[]) AS w (id)
CROSS JOIN LATERAL (
    SELECT event_id, payload_sha256 FROM lumin.redeliveries
    WHERE event_id = w.id AND payload IS NOT NULL OFFSET 0) d`

// mergeOverLimit adds the counts of bodies beyond maxBodies to the row of their
// event that keeps no body.
func mergeOverLimit(ctx context.Context, tx pgx.Tx, rows []*redelivery) ([]*redelivery, error) {
	var differing []int64
	for _, row := range rows {
		if row.payload != nil {
			differing = append(differing, row.eventID)
		}
	}
	if len(differing) == 0 {
		return mergeRows(rows), nil
	}
	found, _ := tx.Query(ctx, keptBodiesSQL, differing) // reading the rows returns the error
	var (
		id   int64
		sum  []byte
		kept = map[int64]map[string]bool{}
	)
	_, err := pgx.ForEachRow(found, []any{&id, &sum}, func() error {
		if kept[id] == nil {
			kept[id] = map[string]bool{}
		}
		kept[id][string(sum)] = true
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load kept bodies: %w", err)
	}
	for _, row := range rows {
		bodies := kept[row.eventID]
		switch {
		case row.payload == nil || bodies[string(row.sha256)]:
		case len(bodies) < maxBodies:
			if bodies == nil {
				bodies = map[string]bool{}
				kept[row.eventID] = bodies
			}
			bodies[string(row.sha256)] = true
		default:
			row.sha256, row.payload, row.evidence = []byte{}, nil, evidence{}
		}
	}
	return mergeRows(rows), nil
}

// mergeRows sorts rows by their primary key (see groupByEvent). It adds up rows
// with the same key, because one statement must not update a row twice.
func mergeRows(rows []*redelivery) []*redelivery {
	slices.SortStableFunc(rows, func(a, b *redelivery) int {
		return cmp.Or(cmp.Compare(a.eventID, b.eventID), bytes.Compare(a.sha256, b.sha256))
	})
	merged := rows[:0]
	for _, row := range rows {
		if n := len(merged); n > 0 && merged[n-1].eventID == row.eventID && bytes.Equal(merged[n-1].sha256, row.sha256) {
			last := merged[n-1]
			last.count += row.count
			last.firstAt, last.lastAt = earlier(last.firstAt, row.firstAt), later(last.lastAt, row.lastAt)
			if row.differs == differsContent {
				last.differs = differsContent
			}
			continue
		}
		merged = append(merged, row)
	}
	return merged
}

const upsertRedeliveriesSQL = `
INSERT INTO lumin.redeliveries AS r (event_id, payload_sha256, differs, payload, count, first_at, last_at,
                                     another_actor, signature, key_id, promoted_key, source)
SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::text[], $4::bytea[], $5::bigint[], $6::timestamptz[], $7::timestamptz[],
                     $8::boolean[], $9::bytea[], $10::text[], $11::uuid[], $12::text[])
ON CONFLICT (event_id, payload_sha256) DO UPDATE SET
    count = r.count + excluded.count,
    differs = CASE excluded.differs WHEN 'content' THEN 'content' ELSE r.differs END,
    first_at = least(r.first_at, excluded.first_at),
    last_at = greatest(r.last_at, excluded.last_at),
    another_actor = r.another_actor OR excluded.another_actor,
    signature = coalesce(r.signature, excluded.signature),
    key_id = coalesce(r.key_id, excluded.key_id),
    promoted_key = coalesce(r.promoted_key, excluded.promoted_key),
    source = coalesce(r.source, excluded.source)`

func upsertRedeliveries(ctx context.Context, tx pgx.Tx, rows []*redelivery) error {
	n := len(rows)
	var (
		ids        = make([]int64, n)
		sums       = make([][]byte, n)
		differs    = make([]string, n)
		payloads   = make([][]byte, n)
		counts     = make([]int64, n)
		firsts     = make([]time.Time, n)
		lasts      = make([]time.Time, n)
		actors     = make([]bool, n)
		signatures = make([][]byte, n)
		keyIDs     = make([]*string, n)
		keys       = make([]*[16]byte, n)
		sources    = make([]*string, n)
	)
	for i, r := range rows {
		ids[i], sums[i], differs[i], payloads[i] = r.eventID, r.sha256, r.differs, r.payload
		counts[i], firsts[i], lasts[i] = r.count, r.firstAt, r.lastAt
		actors[i], signatures[i], keyIDs[i], keys[i], sources[i] = r.anotherActor, r.signature, r.keyID, r.promotedKey, r.source
	}
	_, err := tx.Exec(ctx, upsertRedeliveriesSQL, ids, sums, differs, payloads, counts, firsts, lasts, actors, signatures, keyIDs, keys, sources)
	if err != nil {
		return fmt.Errorf("count %d redeliveries: %w", n, err)
	}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
