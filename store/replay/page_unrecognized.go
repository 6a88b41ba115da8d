package replay

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/internal/estimate"
)

// enqueueUnrecognized decodes unrecognized events again. An event that has an
// identity now is recorded like a delivery of it.
func (p *pager) enqueueUnrecognized(ctx context.Context) (end bool, err error) {
	events, err := readUnrecognized(ctx, p.tx, p.order.Filter, p.from.id, p.limit)
	if err != nil || len(events) == 0 {
		return err == nil, err
	}
	var (
		decoded []store.Delivery
		from    []int64
	)
	for _, e := range events {
		p.page.Next.id = e.id
		if d := e.delivery; d.Envelope != nil {
			d.Jobs = p.jobs.Route(d.Source, d.Envelope.EventType)
			decoded, from = append(decoded, d), append(from, e.id)
		}
	}
	receipts, err := p.store.store.RecordTx(ctx, p.tx, decoded, p.order.ID)
	if err != nil {
		return false, err
	}
	for i, r := range receipts {
		if r.Status != store.Recorded {
			continue // a recognized delivery, or another body on this page, has stored this event
		}
		p.page.Enqueued++
		if _, err := p.tx.Exec(ctx, `UPDATE lumin.events SET decoded_from = $2 WHERE id = $1`, r.EventID, from[i]); err != nil {
			return false, fmt.Errorf("store which event an event was decoded from: %w", err)
		}
	}
	return false, nil
}

// planUnrecognized decodes the events that match, and counts those that have an
// identity now. If s limits the time of plans and it is used up, it assumes that
// the rest of the events are like those before.
func (s *Store) planUnrecognized(ctx context.Context, f Filter) (plan Plan, err error) {
	var (
		p        = PlannedRuns{}
		start    = time.Now()
		timed    = s.limits != (estimate.Limits{})
		coverage = estimate.Coverage{Exact: true, Fraction: 1}
	)
	for first, after := int64(0), int64(0); ; {
		events, err := readUnrecognized(ctx, s.pool, f, after, pageBodies)
		if err != nil {
			return plan, fmt.Errorf("plan replay: %w", err)
		}
		if len(events) == 0 {
			break
		}
		p.add(events)
		first, after = cmp.Or(first, events[0].id), events[len(events)-1].id
		if timed && time.Since(start) > s.limits.Exact+s.limits.Sample {
			if coverage, err = s.unrecognizedUntil(ctx, first, after); err != nil {
				return plan, err
			}
			break
		}
	}
	plan.Exact, plan.MayMiss, plan.AsOf = coverage.Exact, coverage.MayMiss(), *f.AsOf
	if p.Runs > 0 {
		p.Runs = coverage.Scale(p.Runs)
		plan.JobTypes = []PlannedRuns{p}
	}
	return plan, nil
}

// add counts the events that have an identity now.
func (p *PlannedRuns) add(events []unrecognizedEvent) {
	for _, e := range events {
		if e.delivery.Envelope == nil {
			continue
		}
		p.Runs++
		p.LastEvent = &e.delivery.ReceivedAt
		if p.FirstEvent == nil {
			p.FirstEvent = p.LastEvent
		}
	}
}

// unrecognizedUntil returns the share of the ids from the first to the last
// unrecognized event that is not above an id.
func (s *Store) unrecognizedUntil(ctx context.Context, first, id int64) (c estimate.Coverage, err error) {
	var last int64
	err = s.pool.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM lumin.events WHERE signature_request_id IS NULL`).Scan(&last)
	if err != nil {
		return c, fmt.Errorf("plan replay: %w", err)
	}
	c.Fraction = float64(id-first+1) / float64(max(last, id)-first+1)
	c.Exact = c.Fraction == 1
	return c, nil
}

// pageBodies bounds how many bodies, of up to 1 MiB each, are in memory at
// once.
const pageBodies = 32

// unrecognizedEvent is an event that was decoded again. The envelope of its
// delivery is nil if it still has no identity.
type unrecognizedEvent struct {
	id       int64
	delivery store.Delivery
}

// unrecognizedSQL matches each stored copy, because each is decoded for its own
// source.
func unrecognizedSQL() string {
	events := selection{from: []string{`lumin.events e`}}.
		and(`e.signature_request_id IS NULL`, `e.payload IS NOT NULL`, asOf(`e.received_at`)).
		and(matchesCopy("e")...).
		and(
			`(cardinality(@ids::bigint[]) = 0 OR e.event_key = ANY (ARRAY(SELECT event_key FROM lumin.events WHERE id = ANY (@ids))))`,
			`NOT EXISTS (SELECT FROM lumin.events d WHERE d.decoded_from = e.id)`,
			`e.id > @after`,
		)
	return `SELECT e.id, e.source, e.payload, e.signature, e.key_id, e.received_at
` + events.SQL(0) + `
ORDER BY e.id LIMIT @limit`
}

func readUnrecognized(ctx context.Context, db query.DB, f Filter, after int64, limit int) ([]unrecognizedEvent, error) {
	args := f.args()
	args["after"], args["limit"] = after, min(limit, pageBodies)
	return query.Rows(ctx, db, "read unrecognized events", func(row pgx.CollectableRow) (e unrecognizedEvent, err error) {
		d := &e.delivery
		if err := row.Scan(&e.id, &d.Source, &d.Payload, &d.Signature, &d.KeyID, &d.ReceivedAt); err != nil {
			return e, err
		}
		if envelope, err := lumin.DecodeEnvelope(d.Payload); err == nil && envelope.CheckTime() == nil {
			d.Envelope = &envelope
		}
		return e, nil
	}, unrecognizedSQL(), args)
}
