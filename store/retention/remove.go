package retention

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

// Statements are planned for the current state of the tables
// (pgx.QueryExecModeCacheDescribe): a plan that the connection cached may be
// from a time when they were empty.
//
// Every lock here skips rows that are locked by others, so retention never
// waits while it holds a lock. Events are locked FOR UPDATE: that conflicts
// with the lock under which a replay makes missing runs of an event.

// eventsPage removes the data that is too old in the next page of events.
func eventsPage(ctx context.Context, tx pgx.Tx, s *step) (page, error) {
	old, err := decideEvents(ctx, tx, s)
	p := page{read: old.read, last: old.last}
	if err == nil {
		err = removeBodies(ctx, tx, old.bodies, &p.removed)
	}
	if err == nil {
		err = removeKeys(ctx, tx, old.keys, s, &p.removed)
	}
	return p, err
}

// bodiesPage removes the bodies that are too old in the next page of events.
func bodiesPage(ctx context.Context, tx pgx.Tx, s *step) (page, error) {
	old, err := decideBodies(ctx, tx, s)
	p := page{read: old.read, last: old.last}
	if err == nil {
		err = removeBodies(ctx, tx, old.bodies, &p.removed)
	}
	return p, err
}

const (
	lockBodiesSQL = `
SELECT id FROM lumin.events WHERE id = ANY ($1) AND payload_removed_at IS NULL ORDER BY id FOR UPDATE SKIP LOCKED`

	// The condition is checked again, because a replay order may have taken the
	// run since the decision.
	removeBodiesSQL = `
UPDATE lumin.events e SET payload = NULL, payload_removed_at = now() WHERE e.id = ANY ($1) AND NOT ` + neededByRun

	// A redelivery with a body is only added under a lock on its event.
	removeRedeliveryBodiesSQL = `
UPDATE lumin.redeliveries d SET payload = NULL, promoted_key = NULL
FROM lumin.events e
WHERE d.event_id = ANY ($1) AND d.payload IS NOT NULL AND e.id = d.event_id AND e.payload_removed_at IS NOT NULL`
)

// removeBodies removes the bodies of those events that are still unlocked and
// not needed by a run.
func removeBodies(ctx context.Context, tx pgx.Tx, ids []int64, removed *Removed) error {
	if len(ids) == 0 {
		return nil
	}
	ids, err := query.Column[int64](ctx, tx, "lock events", lockBodiesSQL, pgx.QueryExecModeCacheDescribe, ids)
	if err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, removeBodiesSQL, pgx.QueryExecModeCacheDescribe, ids)
	if err != nil {
		return fmt.Errorf("remove bodies: %w", err)
	}
	removed.Payloads = tag.RowsAffected()
	if _, err = tx.Exec(ctx, removeRedeliveryBodiesSQL, pgx.QueryExecModeCacheDescribe, ids); err != nil {
		return fmt.Errorf("remove bodies of redeliveries: %w", err)
	}
	return nil
}

// lockKeysSQL locks all rows of each event key, and returns how many rows it
// could lock.
const lockKeysSQL = `
WITH e AS MATERIALIZED (
    SELECT l.* FROM unnest($1::uuid[]) AS w (event_key)
    CROSS JOIN LATERAL (SELECT id, event_key FROM lumin.events WHERE event_key = w.event_key FOR UPDATE SKIP LOCKED OFFSET 0) l
), r AS (
    SELECT l.* FROM unnest($1::uuid[]) AS w (event_key)
    CROSS JOIN LATERAL (SELECT event_key FROM lumin.runs WHERE event_key = w.event_key FOR UPDATE SKIP LOCKED OFFSET 0) l
), d AS (
    SELECT e.event_key FROM e
    CROSS JOIN LATERAL (SELECT FROM lumin.redeliveries WHERE event_id = e.id FOR UPDATE SKIP LOCKED OFFSET 0) l
)
SELECT event_key, count(*) FROM (SELECT event_key FROM e UNION ALL TABLE r UNION ALL TABLE d) l GROUP BY 1`

// removeKeysSQL removes the event keys of which every present row was locked by
// lockKeysSQL. It removes all rows of a key or none: if a run went and its
// event stayed, a replay of missing runs would make the run again, and it would
// take effect twice.
const removeKeysSQL = `
WITH gone AS MATERIALIZED (
    SELECT w.event_key FROM unnest($2::uuid[], $3::bigint[]) AS w (event_key, locked)
    CROSS JOIN LATERAL (
        SELECT count(*) AS n, coalesce(bool_or(state IN ('pending', 'parked', 'failed')), false) AS needed
        FROM lumin.runs WHERE event_key = w.event_key OFFSET 0) r
    CROSS JOIN LATERAL (
        SELECT count(*) AS n, max(received_at) AS youngest, sum((SELECT count(*) FROM lumin.redeliveries WHERE event_id = o.id)) AS copies
        FROM lumin.events o WHERE o.event_key = w.event_key OFFSET 0) e
    WHERE NOT r.needed AND e.youngest < $1 AND w.locked = e.n + e.copies + r.n
), runs AS (
    DELETE FROM lumin.runs WHERE event_key = ANY (ARRAY(SELECT event_key FROM gone)) RETURNING 1
), failures AS (
    DELETE FROM lumin.failures WHERE event_key = ANY (ARRAY(SELECT event_key FROM gone))
), dismissals AS (
    DELETE FROM lumin.dismissals WHERE event_key = ANY (ARRAY(SELECT event_key FROM gone))
), redeliveries AS (
    DELETE FROM lumin.redeliveries
    WHERE event_id = ANY (ARRAY(SELECT id FROM lumin.events WHERE event_key = ANY (ARRAY(SELECT event_key FROM gone)))) RETURNING 1
), events AS (
    DELETE FROM lumin.events WHERE event_key = ANY (ARRAY(SELECT event_key FROM gone)) RETURNING signature_request_id
)
SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM runs), (SELECT count(*) FROM redeliveries),
       ARRAY(SELECT DISTINCT signature_request_id FROM events WHERE signature_request_id IS NOT NULL)`

const removeRequestsSQL = `
DELETE FROM lumin.signature_requests WHERE signature_request_id = ANY (ARRAY(
    SELECT s.signature_request_id FROM lumin.signature_requests s
    WHERE s.signature_request_id = ANY ($1)
      AND NOT EXISTS (SELECT FROM lumin.events e WHERE e.signature_request_id = s.signature_request_id OFFSET 0)
    FOR UPDATE SKIP LOCKED))`

// removeKeys removes all rows of those event keys that are still unlocked and
// not needed by a run, and then signature requests without events.
func removeKeys(ctx context.Context, tx pgx.Tx, keys [][16]byte, s *step, removed *Removed) error {
	if len(keys) == 0 {
		return nil
	}
	var (
		key      [16]byte
		n        int64
		taken    [][16]byte
		locked   []int64
		requests []string
	)
	err := query.Each(ctx, tx, "lock events", []any{&key, &n}, func() error {
		taken, locked = append(taken, key), append(locked, n)
		return nil
	}, lockKeysSQL, pgx.QueryExecModeCacheDescribe, keys)
	if err != nil {
		return err
	}
	err = tx.QueryRow(ctx, removeKeysSQL, pgx.QueryExecModeCacheDescribe, s.events, taken, locked).
		Scan(&removed.Events, &removed.Runs, &removed.Redeliveries, &requests)
	if err != nil {
		return fmt.Errorf("remove events: %w", err)
	}
	if _, err = tx.Exec(ctx, removeRequestsSQL, pgx.QueryExecModeCacheDescribe, requests); err != nil {
		return fmt.Errorf("remove signature requests without events: %w", err)
	}
	return nil
}
