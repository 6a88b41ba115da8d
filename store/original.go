package store

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
)

// original is the first delivery of an event.
type original struct {
	id      int64
	sha256  []byte
	payload []byte
	removed bool

	recovered bool        // made from an answer of Lumin's API, so it never equals a delivery
	promoted  []*original // events that were promoted from conflicts of this one
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
SELECT e.id, e.payload, e.payload_removed_at IS NOT NULL
FROM unnest($1::bigint[]) AS w (id)
CROSS JOIN LATERAL (SELECT * FROM lumin.events WHERE id = w.id FOR NO KEY UPDATE OFFSET 0) e`

	recoveredEventsSQL = `
SELECT w.n, e.id, e.payload_sha256
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (signature_request_id, event_type, n)
CROSS JOIN LATERAL (
    SELECT id, payload_sha256 FROM lumin.events
    WHERE source = 'recovered' AND signature_request_id = w.signature_request_id AND event_type = w.event_type OFFSET 0) e`

	promotedEventsSQL = `
SELECT e.promoted_from, e.id, e.payload_sha256, e.payload, e.payload_removed_at IS NOT NULL
FROM unnest($1::bigint[]) AS w (id)
CROSS JOIN LATERAL (SELECT * FROM lumin.events WHERE promoted_from = w.id OFFSET 0) e
ORDER BY e.id`
)

func loadOriginals(ctx context.Context, tx pgx.Tx, groups []*group) (map[identity]*original, error) {
	originals, err := readOriginals(ctx, tx, groups)
	if err == nil && len(originals) < len(groups) {
		err = addRecovered(ctx, tx, groups, originals)
	}
	if err != nil {
		return nil, err
	}
	if len(originals) != len(groups) {
		// An event was deleted between the two statements.
		return nil, fmt.Errorf("load %d events: found only %d", len(groups), len(originals))
	}
	differ := map[int64]*original{}
	for _, g := range groups {
		o := originals[g.identity]
		if slices.ContainsFunc(g.deliveries, func(d *delivered) bool { return !bytes.Equal(d.sha256[:], o.sha256) }) {
			differ[o.id] = o
		}
	}
	if len(differ) == 0 {
		return originals, nil
	}
	if err := lockOriginals(ctx, tx, differ); err != nil {
		return nil, err
	}
	return originals, loadPromoted(ctx, tx, differ)
}

// readOriginals reads the events of the groups that are stored.
func readOriginals(ctx context.Context, tx pgx.Tx, groups []*group) (map[identity]*original, error) {
	var (
		keys    [][16]byte
		sources []string
	)
	for _, g := range groups {
		keys, sources = append(keys, g.key), append(sources, g.source)
	}
	rows, _ := tx.Query(ctx, loadEventsSQL, keys, sources) // reading the rows returns the error
	var (
		originals = make(map[identity]*original, len(groups))
		id        int64
		key       [16]byte
		source    string
		sum       []byte
	)
	_, err := pgx.ForEachRow(rows, []any{&id, &key, &source, &sum}, func() error {
		originals[identity{key, source}] = &original{id: id, sha256: bytes.Clone(sum)}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load %d events: %w", len(groups), err)
	}
	return originals, nil
}

// addRecovered adds the recovered event of each group whose own event is not
// stored. Several groups may have the same one.
func addRecovered(ctx context.Context, tx pgx.Tx, groups []*group, originals map[identity]*original) error {
	var (
		missing         []*group
		requests, types []string
	)
	for _, g := range groups {
		if originals[g.identity] == nil && g.recoverable() {
			e := g.deliveries[0].Envelope
			missing, requests, types = append(missing, g), append(requests, e.SignatureRequestID), append(types, string(e.EventType))
		}
	}
	rows, _ := tx.Query(ctx, recoveredEventsSQL, requests, types) // reading the rows returns the error
	var (
		byID  = map[int64]*original{}
		n, id int64
		sum   []byte
	)
	_, err := pgx.ForEachRow(rows, []any{&n, &id, &sum}, func() error {
		if byID[id] == nil {
			byID[id] = &original{id: id, sha256: bytes.Clone(sum), recovered: true}
		}
		originals[missing[n-1].identity] = byID[id]
		return nil
	})
	if err != nil {
		return fmt.Errorf("load recovered events of %d deliveries: %w", len(missing), err)
	}
	return nil
}

// lockOriginals locks events and reads their bodies.
func lockOriginals(ctx context.Context, tx pgx.Tx, byID map[int64]*original) error {
	ids := slices.Sorted(maps.Keys(byID))        // events are locked in this order: see groupByEvent
	rows, _ := tx.Query(ctx, lockEventsSQL, ids) // reading the rows returns the error
	var (
		id      int64
		payload []byte
		removed bool
	)
	_, err := pgx.ForEachRow(rows, []any{&id, &payload, &removed}, func() error {
		byID[id].payload, byID[id].removed = bytes.Clone(payload), removed
		return nil
	})
	if err != nil {
		return fmt.Errorf("lock %d events: %w", len(ids), err)
	}
	return nil
}

// loadPromoted loads the events that were promoted from conflicts of the given
// events. A further delivery of such a body is a redelivery of its promoted
// event. The given events are locked, so no conflict is promoted in the
// meantime.
func loadPromoted(ctx context.Context, tx pgx.Tx, byID map[int64]*original) error {
	rows, _ := tx.Query(ctx, promotedEventsSQL, slices.Sorted(maps.Keys(byID))) // reading the rows returns the error
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
		return fmt.Errorf("load promoted conflicts of %d events: %w", len(byID), err)
	}
	return nil
}
