package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// lockedEventsSQL never waits. A row that it cannot lock is locked by another
// transaction. Recording locks the rows that count the redeliveries of an
// event. It locks the event itself only to store a body that differs.
const lockedEventsSQL = `
SELECT w.n
FROM unnest($1::uuid[], $2::text[], $3::bytea[]) WITH ORDINALITY AS w (event_key, source, sha256, n)
CROSS JOIN LATERAL (
    SELECT id, payload_sha256 FROM lumin.events
    WHERE event_key = w.event_key AND source = w.source OFFSET 0) e
WHERE (e.payload_sha256 <> w.sha256
       AND NOT EXISTS (SELECT FROM lumin.events WHERE id = e.id FOR NO KEY UPDATE SKIP LOCKED))
   OR (SELECT count(*) FROM lumin.redeliveries WHERE event_id = e.id)
      <> (SELECT count(*) FROM (SELECT FROM lumin.redeliveries WHERE event_id = e.id FOR UPDATE SKIP LOCKED) d)`

// lockedEvents returns the positions of the deliveries in a batch that would
// wait for a row lock.
func (s *Store) lockedEvents(ctx context.Context, batch []*pending) (map[int]bool, error) {
	var (
		keys    = make([][16]byte, len(batch))
		sources = make([]string, len(batch))
		hashes  = make([][]byte, len(batch))
		locked  = map[int]bool{}
	)
	for i, p := range batch {
		hash := p.delivery.sha256()
		keys[i], sources[i], hashes[i] = p.key, p.delivery.Source, hash[:]
	}
	tx, err := s.beginRecording(ctx, splitLockTimeout)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	defer rollback(ctx, tx)
	rows, _ := tx.Query(ctx, lockedEventsSQL, keys, sources, hashes) // reading the rows returns the error
	var n int
	_, err = pgx.ForEachRow(rows, []any{&n}, func() error {
		locked[n-1] = true
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find locked events: %w", err)
	}
	return locked, nil
}
