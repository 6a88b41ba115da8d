package retention

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// planSQL reads each table once.
const planSQL = `
WITH needed AS (
    SELECT DISTINCT event_key FROM lumin.runs WHERE state IN ('pending', 'failed')
), old AS MATERIALIZED (
    SELECT e.id, e.event_key, e.payload_removed_at IS NULL AND e.received_at < $1 AS body, e.received_at < $2 AS whole,
           n.event_key IS NOT NULL AS needed
    FROM lumin.events e LEFT JOIN needed n ON n.event_key = e.event_key
    WHERE e.payload_removed_at IS NULL AND e.received_at < $1 OR e.received_at < $2
), gone AS MATERIALIZED (
    SELECT o.id, o.event_key, o.body FROM old o
    WHERE o.whole AND NOT o.needed
      AND NOT EXISTS (SELECT FROM lumin.events y WHERE y.event_key = o.event_key AND y.received_at >= $2)
)
SELECT (SELECT count(*) FROM old WHERE body AND NOT needed) - (SELECT count(*) FROM gone WHERE body),
       (SELECT count(*) FROM gone),
       (SELECT count(*) FROM lumin.runs WHERE event_key IN (SELECT event_key FROM gone)),
       (SELECT count(*) FROM lumin.redeliveries WHERE event_id IN (SELECT id FROM gone)),
       (SELECT count(*) FROM old WHERE needed)`

// Plan counts the data that [Run] would remove now. kept is the number of
// events that are old enough, but whose row or body a pending or failed run
// needs.
func Plan(ctx context.Context, pool *pgxpool.Pool, policy Policy, now time.Time) (plan Removed, kept int64, err error) {
	payloads, events := policy.cutoffs(now)
	err = pool.QueryRow(ctx, planSQL, pgx.QueryExecModeCacheDescribe, payloads, events).
		Scan(&plan.Payloads, &plan.Events, &plan.Runs, &plan.Redeliveries, &kept)
	if err != nil {
		return plan, kept, fmt.Errorf("plan retention: %w", err)
	}
	return plan, kept, nil
}
