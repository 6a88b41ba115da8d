package retention

import (
	"context"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

// Conditions on an event e. The events of all sources with one event key share
// their runs. OFFSET 0 keeps PostgreSQL from turning these index lookups into
// joins.
const (
	neededByRun = `EXISTS (
    SELECT FROM lumin.runs r WHERE r.event_key = e.event_key AND r.state IN ('pending', 'parked', 'failed') OFFSET 0)`

	// An event of the same key, from another source, that is younger than $4.
	youngerCopy = `EXISTS (SELECT FROM lumin.events o WHERE o.event_key = e.event_key AND o.received_at >= $4 OFFSET 0)`
)

// Each query reads the next page of events and returns the event keys of which
// everything may be removed, and the ids of events that stay without their
// body. It locks nothing, because most events of a page may have to stay.
const (
	oldEventsSQL = `
WITH e AS MATERIALIZED (
    SELECT id, event_key, received_at, payload_removed_at IS NULL AND received_at < $5 AS body FROM lumin.events
    WHERE received_at < $4 AND (received_at, id) > ($1, $2)
    ORDER BY received_at, id LIMIT $3
), old AS MATERIALIZED (
    SELECT e.*, ` + youngerCopy + ` AS stays FROM e WHERE NOT ` + neededByRun + `
)
SELECT (SELECT count(*) FROM e), l.received_at, l.id,
       ARRAY(SELECT DISTINCT event_key FROM old WHERE NOT stays), ARRAY(SELECT id FROM old WHERE stays AND body)
FROM (SELECT received_at, id FROM e ORDER BY received_at DESC, id DESC LIMIT 1) l`

	oldBodiesSQL = `
WITH e AS MATERIALIZED (
    SELECT id, event_key, received_at FROM lumin.events
    WHERE payload_removed_at IS NULL AND received_at < $4 AND (received_at, id) > ($1, $2)
    ORDER BY received_at, id LIMIT $3
)
SELECT (SELECT count(*) FROM e), l.received_at, l.id, ARRAY[]::uuid[], ARRAY(SELECT e.id FROM e WHERE NOT ` + neededByRun + `)
FROM (SELECT received_at, id FROM e ORDER BY received_at DESC, id DESC LIMIT 1) l`
)

// decision lists the data that may be removed of one page of events.
type decision struct {
	keys   [][16]byte // event keys of which everything may be removed
	bodies []int64    // ids of events that stay, but whose body may be removed
	read   int        // number of events in the page
	last   position
}

// decideEvents decides on the next page of events that are older than Events of
// the policy. An event with a younger copy from another source stays, but may
// lose its body.
func decideEvents(ctx context.Context, tx pgx.Tx, s *step) (decision, error) {
	return decide(ctx, tx, oldEventsSQL, s, s.events, s.payloads)
}

// decideBodies decides on the next page of events that are older than Payloads
// of the policy and still have their body. Only bodies may be removed.
func decideBodies(ctx context.Context, tx pgx.Tx, s *step) (decision, error) {
	return decide(ctx, tx, oldBodiesSQL, s, s.payloads)
}

func decide(ctx context.Context, tx pgx.Tx, sql string, s *step, cutoffs ...any) (decision, error) {
	d := decision{last: s.at}
	args := append([]any{pgx.QueryExecModeCacheDescribe, s.at.receivedAt, s.at.id, s.pageSize}, cutoffs...)
	// The result has no row after the last event.
	err := query.Each(ctx, tx, "find old events", []any{&d.read, &d.last.receivedAt, &d.last.id, &d.keys, &d.bodies},
		func() error { return nil }, sql, args...)
	return d, err
}
