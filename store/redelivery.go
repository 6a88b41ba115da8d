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
	differsUnknown    = "unknown" // the first body has been removed
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

	conflict // zero unless differs is content
}

// conflict holds the columns of a conflict that promoting it needs.
type conflict struct {
	anotherActor bool
	signature    []byte
	keyID        *string
	promotedKey  *[16]byte
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

// original is the first delivery of an event.
type original struct {
	id      int64
	sha256  []byte
	payload []byte
	removed bool

	promoted []*original // events that were promoted from conflicts of this one
}

// These are separate statements, because INSERT ... ON CONFLICT DO NOTHING does
// not see rows that another transaction committed while it waited. The payload
// is read only if a body differs. The event is then locked, so that two
// transactions cannot both store the last body that is kept. OFFSET 0: see
// recordSQL.
const (
	loadEventsSQL = `
SELECT e.*
FROM unnest($1::uuid[], $2::text[]) AS w (event_key, source)
CROSS JOIN LATERAL (
    SELECT id, event_key, source, payload_sha256 FROM lumin.events
    WHERE event_key = w.event_key AND source = w.source OFFSET 0) e`

	lockEventsSQL = `
SELECT e.event_key, e.source, e.payload, e.payload_removed_at IS NOT NULL
FROM unnest($1::bigint[]) AS w (id)
CROSS JOIN LATERAL (SELECT * FROM lumin.events WHERE id = w.id FOR NO KEY UPDATE OFFSET 0) e`

	promotedEventsSQL = `
SELECT e.promoted_from, e.id, e.payload_sha256, e.payload, e.payload_removed_at IS NOT NULL
FROM unnest($1::bigint[]) AS w (id)
CROSS JOIN LATERAL (SELECT * FROM lumin.events WHERE promoted_from = w.id OFFSET 0) e
ORDER BY e.id`
)

func loadOriginals(ctx context.Context, tx pgx.Tx, groups []*group) (map[identity]*original, error) {
	originals := make(map[identity]*original, len(groups))
	var (
		keys    [][16]byte
		sources []string
		differ  []int64
	)
	for _, g := range groups {
		keys, sources = append(keys, g.key), append(sources, g.source)
	}
	rows, _ := tx.Query(ctx, loadEventsSQL, keys, sources) // reading the rows returns the error
	var (
		id     int64
		key    [16]byte
		source string
		sum    []byte
	)
	_, err := pgx.ForEachRow(rows, []any{&id, &key, &source, &sum}, func() error {
		g := find(groups, identity{key, source})
		g.eventID = id
		originals[g.identity] = &original{id: id, sha256: bytes.Clone(sum)}
		if slices.ContainsFunc(g.deliveries, func(d *delivered) bool { return !bytes.Equal(d.sha256[:], sum) }) {
			differ = append(differ, id)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load %d events: %w", len(groups), err)
	}
	if len(originals) != len(groups) {
		// An event was deleted between the two statements.
		return nil, fmt.Errorf("load %d events: found only %d", len(groups), len(originals))
	}
	if len(differ) == 0 {
		return originals, nil
	}
	// Events are locked in this order: see groupByEvent.
	slices.Sort(differ)
	rows, _ = tx.Query(ctx, lockEventsSQL, differ) // reading the rows returns the error
	var (
		payload []byte
		removed bool
	)
	_, err = pgx.ForEachRow(rows, []any{&key, &source, &payload, &removed}, func() error {
		o := originals[identity{key, source}]
		o.payload, o.removed = bytes.Clone(payload), removed
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("lock %d events: %w", len(differ), err)
	}
	return originals, loadPromoted(ctx, tx, originals, differ)
}

// loadPromoted loads the events that were promoted from conflicts of the given
// events. A further delivery of such a body is a redelivery of its promoted
// event. The given events are locked, so no conflict is promoted in the
// meantime.
func loadPromoted(ctx context.Context, tx pgx.Tx, originals map[identity]*original, of []int64) error {
	byID := make(map[int64]*original, len(originals))
	for _, o := range originals {
		byID[o.id] = o
	}
	rows, _ := tx.Query(ctx, promotedEventsSQL, of) // reading the rows returns the error
	var (
		from, id     int64
		sum, payload []byte
		removed      bool
	)
	_, err := pgx.ForEachRow(rows, []any{&from, &id, &sum, &payload, &removed}, func() error {
		byID[from].promoted = append(byID[from].promoted,
			&original{id: id, sha256: bytes.Clone(sum), payload: bytes.Clone(payload), removed: removed})
		return nil
	})
	if err != nil {
		return fmt.Errorf("load promoted conflicts of %d events: %w", len(of), err)
	}
	return nil
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
			EventID: row.eventID, Status: Duplicate, Conflict: row.differs == differsContent, AnotherActor: row.anotherActor,
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
	return &redelivery{eventID: first.id, sha256: d.sha256[:], differs: differsContent, payload: d.Payload, conflict: conflict{
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
			row.sha256, row.payload, row.conflict = []byte{}, nil, conflict{}
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
                                     another_actor, signature, key_id, promoted_key)
SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::text[], $4::bytea[], $5::bigint[], $6::timestamptz[], $7::timestamptz[],
                     $8::boolean[], $9::bytea[], $10::text[], $11::uuid[])
ON CONFLICT (event_id, payload_sha256) DO UPDATE SET
    count = r.count + excluded.count,
    differs = CASE excluded.differs WHEN 'content' THEN 'content' ELSE r.differs END,
    first_at = least(r.first_at, excluded.first_at),
    last_at = greatest(r.last_at, excluded.last_at),
    another_actor = r.another_actor OR excluded.another_actor,
    signature = coalesce(r.signature, excluded.signature),
    key_id = coalesce(r.key_id, excluded.key_id),
    promoted_key = coalesce(r.promoted_key, excluded.promoted_key)`

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
	)
	for i, r := range rows {
		ids[i], sums[i], differs[i], payloads[i] = r.eventID, r.sha256, r.differs, r.payload
		counts[i], firsts[i], lasts[i] = r.count, r.firstAt, r.lastAt
		actors[i], signatures[i], keyIDs[i], keys[i] = r.anotherActor, r.signature, r.keyID, r.promotedKey
	}
	_, err := tx.Exec(ctx, upsertRedeliveriesSQL, ids, sums, differs, payloads, counts, firsts, lasts, actors, signatures, keyIDs, keys)
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
