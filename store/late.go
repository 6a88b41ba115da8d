package store

import (
	"context"

	"lumin-ingest/internal/query"
)

// WaitingLate counts the late events that wait for a person's decision: they have
// no run, although a job type subscribes to them.
type WaitingLate struct {
	Events int64

	// More is true if only the newest late events were examined. Others may wait too.
	More bool
}

// lateLooks bounds the late events that are examined. Their runs are looked up one by
// one, which takes about 20 ms for this number.
const lateLooks = 5000

// waitingLateSQL counts an event with several late copies once. A dismissed event
// has runs too.
const waitingLateSQL = `
WITH looked AS MATERIALIZED (
    SELECT e.event_key, e.event_type, e.source, e.payload_removed_at FROM lumin.events e
    WHERE e.late ORDER BY e.id DESC LIMIT $1
)
SELECT (SELECT count(DISTINCT l.event_key) FROM looked l
        WHERE l.payload_removed_at IS NULL
          AND NOT EXISTS (SELECT FROM lumin.runs r WHERE r.event_key = l.event_key OFFSET 0)
          AND EXISTS (SELECT FROM lumin.job_types t
                      WHERE (t.events = '{}' OR l.event_type = ANY (t.events)) AND (t.sources = '{}' OR l.source = ANY (t.sources)))),
       (SELECT count(*) FROM looked) = $1`

// CountWaitingLate counts the late events that wait for a decision, among the newest
// 5,000 late events. Its duration does not grow with the number of other events.
func CountWaitingLate(ctx context.Context, db query.DB) (WaitingLate, error) {
	return query.Struct[WaitingLate](ctx, db, "count late events", waitingLateSQL, lateLooks)
}
