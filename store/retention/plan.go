package retention

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
	"lumin-ingest/store/internal/estimate"
)

// exactPlanSQL reads each table once.
const exactPlanSQL = `
WITH needed AS (
    SELECT DISTINCT event_key FROM lumin.runs WHERE state IN ('pending', 'parked', 'failed')
), old AS MATERIALIZED (
    SELECT e.id, e.event_key, e.payload_removed_at IS NULL AND e.received_at < @payloads AS body, e.received_at < @events AS whole,
           n.event_key IS NOT NULL AS needed
    FROM lumin.events e LEFT JOIN needed n ON n.event_key = e.event_key
    WHERE e.payload_removed_at IS NULL AND e.received_at < @payloads OR e.received_at < @events
), gone AS MATERIALIZED (
    SELECT o.id, o.event_key, o.body FROM old o
    WHERE o.whole AND NOT o.needed
      AND NOT EXISTS (SELECT FROM lumin.events y WHERE y.event_key = o.event_key AND y.received_at >= @events)
)
SELECT (SELECT count(*) FROM old WHERE body AND NOT needed) - (SELECT count(*) FROM gone WHERE body),
       (SELECT count(*) FROM gone),
       (SELECT count(*) FROM lumin.runs WHERE event_key IN (SELECT event_key FROM gone)),
       (SELECT count(*) FROM lumin.redeliveries WHERE event_id IN (SELECT id FROM gone)),
       (SELECT count(*) FROM old WHERE needed)`

// samplePlanSQL looks up everything for each event of the sample. Two copies of
// an event share their runs, so each counts for half of them.
const samplePlanSQL = `
WITH old AS MATERIALIZED (
    SELECT e.id, e.event_key, e.payload_removed_at IS NULL AND e.received_at < @payloads AS body, e.received_at < @events AS whole,
           ` + neededByRun + ` AS needed
    FROM lumin.events e TABLESAMPLE SYSTEM (@percent::float4)
    WHERE e.payload_removed_at IS NULL AND e.received_at < @payloads OR e.received_at < @events
), gone AS MATERIALIZED (
    SELECT o.id, o.event_key, o.body FROM old o
    WHERE o.whole AND NOT o.needed
      AND NOT EXISTS (SELECT FROM lumin.events y WHERE y.event_key = o.event_key AND y.received_at >= @events OFFSET 0)
)
SELECT (SELECT count(*) FROM old WHERE body AND NOT needed) - (SELECT count(*) FROM gone WHERE body),
       (SELECT count(*) FROM gone),
       (SELECT coalesce(round(sum((SELECT count(*) FROM lumin.runs r WHERE r.event_key = g.event_key)::numeric
                   / (SELECT count(*) FROM lumin.events c WHERE c.event_key = g.event_key))), 0)::bigint FROM gone g),
       (SELECT coalesce(sum((SELECT count(*) FROM lumin.redeliveries d WHERE d.event_id = g.id)), 0)::bigint FROM gone g),
       (SELECT count(*) FROM old WHERE needed)`

// Planned counts what [Run] would remove now.
type Planned struct {
	Removed
	Kept  int64 // events that are old enough, but whose row or body a pending, parked or failed run needs
	Exact bool  // false: the numbers are estimates

	// MayMiss is 0 if Exact. Otherwise a number that is 0 here can be as high as this.
	MayMiss int64
}

// Plan counts what [Run] would remove now.
func Plan(ctx context.Context, pool *pgxpool.Pool, policy Policy, now time.Time) (Planned, error) {
	return plan(ctx, pool, estimate.Limits{}, policy, now)
}

// QuickPlan is like Plan. In a large database a plan that cannot be counted at
// once is an estimate.
func QuickPlan(ctx context.Context, pool *pgxpool.Pool, policy Policy, now time.Time) (Planned, error) {
	return plan(ctx, pool, estimate.Quick(), policy, now)
}

// counts is a row of the statements above.
type counts struct{ Payloads, Events, Runs, Redeliveries, Kept int64 }

func plan(ctx context.Context, pool *pgxpool.Pool, limits estimate.Limits, policy Policy, now time.Time) (p Planned, err error) {
	payloads, events := policy.cutoffs(now)
	read := func(ctx context.Context, tx pgx.Tx, percent float64) (counts, error) {
		sql := exactPlanSQL
		if percent < 100 {
			sql = samplePlanSQL
		}
		return query.Struct[counts](ctx, tx, "plan retention", sql, pgx.QueryExecModeCacheDescribe,
			pgx.NamedArgs{"payloads": payloads, "events": events, "percent": percent})
	}
	parts, coverage, err := estimate.Count(ctx, pool, limits, "lumin.events", read)
	if err != nil {
		return p, err
	}
	for _, part := range parts {
		p.Payloads += part.Payloads
		p.Events += part.Events
		p.Runs += part.Runs
		p.Redeliveries += part.Redeliveries
		p.Kept += part.Kept
	}
	for _, n := range []*int64{&p.Payloads, &p.Events, &p.Runs, &p.Redeliveries, &p.Kept} {
		*n = coverage.Scale(*n)
	}
	p.Exact, p.MayMiss = coverage.Exact, coverage.MayMiss()
	return p, nil
}

const removesBetweenSQL = `
SELECT EXISTS (
    SELECT FROM (
        SELECT e.event_key FROM lumin.events e
        WHERE e.received_at >= $1 AND e.received_at < $2 AND e.payload_removed_at IS NULL AND NOT ` + neededByRun + ` LIMIT 1
    ) body
) OR EXISTS (
    SELECT FROM (
        SELECT e.event_key FROM lumin.events e
        WHERE e.received_at >= $3 AND e.received_at < $4 AND NOT ` + neededByRun + `
          AND NOT ` + youngerCopy + ` LIMIT 1
    ) whole
)`

// RemovesMore reports whether [Run] would now remove anything that it would keep
// with the policy kept, which removes less.
func RemovesMore(ctx context.Context, pool *pgxpool.Pool, policy, kept Policy, now time.Time) (more bool, err error) {
	bodiesFrom, eventsFrom := kept.cutoffs(now)
	bodiesUntil, eventsUntil := policy.cutoffs(now)
	err = pool.QueryRow(ctx, removesBetweenSQL, pgx.QueryExecModeCacheDescribe, bodiesFrom, bodiesUntil, eventsFrom, eventsUntil).Scan(&more)
	if err != nil {
		return false, fmt.Errorf("plan retention: %w", err)
	}
	return more, nil
}
