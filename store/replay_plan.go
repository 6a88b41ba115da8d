package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
)

// NoFingerprint stands for that of runs whose error is not known.
const NoFingerprint = "none"

// The conditions of a filter; [ReplayFilter.args] binds their parameters. r is
// lumin.runs, and e is lumin.events.
const (
	matchesRun = `
    (cardinality(@kinds::text[]) = 0 OR r.job_kind = ANY (@kinds))
AND (cardinality(@errors::text[]) = 0 OR coalesce(r.error_fingerprint, '` + NoFingerprint + `') = ANY (@errors))`

	// matchesIdentity gives the same result for every stored copy of an event.
	matchesIdentity = `
    (cardinality(@types::text[]) = 0 OR e.event_type = ANY (@types))
AND (cardinality(@requests::text[]) = 0 OR e.signature_request_id = ANY (@requests))
AND (@event_since::timestamptz IS NULL OR e.event_time >= @event_since)
AND (@event_until::timestamptz IS NULL OR e.event_time < @event_until)`
)

// matchesCopy is the condition that one stored copy of an event must meet.
func matchesCopy(c string) string {
	return `
    (cardinality(@sources::text[]) = 0 OR ` + c + `.source = ANY (@sources))
AND (@received_since::timestamptz IS NULL OR ` + c + `.received_at >= @received_since)
AND (@received_until::timestamptz IS NULL OR ` + c + `.received_at < @received_until)`
}

// matchesKey is the condition on the event key of r or e. It matches events named
// by any of their ids, and events of which any stored copy matches. An event is
// stored once for each source.
func (f ReplayFilter) matchesKey(of string) string {
	where := "true"
	if len(f.EventIDs) > 0 {
		where = of + `.event_key = ANY (ARRAY(SELECT event_key FROM lumin.events WHERE id = ANY (@ids::bigint[])))`
	}
	if f.ofCopy() {
		where += ` AND EXISTS (SELECT FROM lumin.events c WHERE c.event_key = ` + of + `.event_key AND ` + matchesCopy("c") + `)`
	}
	return where
}

func (f ReplayFilter) args() pgx.NamedArgs {
	ids := f.EventIDs
	if ids == nil {
		ids = []int64{}
	}
	return pgx.NamedArgs{
		"kinds": nonNil(f.Kinds), "errors": nonNil(f.ErrorFingerprints),
		"types": nonNil(f.EventTypes), "sources": nonNil(f.Sources), "requests": nonNil(f.SignatureRequestIDs), "ids": ids,
		"received_since": f.ReceivedSince, "received_until": f.ReceivedUntil,
		"event_since": f.EventSince, "event_until": f.EventUntil,
	}
}

// matchingRuns is FROM and WHERE of the runs that match: r, with e where the filter
// needs it, and with j, the River job, for runs that are being retried.
func (f ReplayFilter) matchingRuns() string {
	from, where := `FROM lumin.runs r`, `r.state = 'failed'`
	events := f.ofIdentity()
	switch f.Status {
	case ReplayRetrying:
		from = `FROM lumin.river_job j
JOIN lumin.runs r ON r.event_key = lumin.run_key(j.args) AND r.job_kind = j.kind AND r.replay_id = lumin.run_replay(j.args)`
		where = `j.state IN ('retryable', 'scheduled') AND r.state = 'pending'`
	case ReplayCancelled, ReplaySucceeded:
		// A job needs a body, and an erased body must not come back.
		events = true
		where = `r.state = '` + string(f.Status) + `'` + f.hasBody()
	case replayDismissed:
		events = true
		from = `FROM lumin.dismissals d JOIN lumin.runs r ON r.event_key = d.event_key AND r.job_kind = d.job_kind`
		where = `r.state = 'dismissed'` + f.hasBody()
	}
	where += " AND " + matchesRun + " AND " + f.matchesKey("r")
	if !events {
		return from + "\nWHERE " + where
	}
	return from + "\nJOIN lumin.events e ON e.id = r.event_id\nWHERE " + where + " AND " + matchesIdentity
}

// hasBody leaves out events whose body was removed. With f.withoutBody it chooses
// only those.
func (f ReplayFilter) hasBody() string {
	if f.withoutBody {
		return ` AND e.payload_removed_at IS NOT NULL`
	}
	return ` AND e.payload_removed_at IS NULL`
}

// wantedBy is true where job type t would want event e.
const wantedBy = `e.signature_request_id IS NOT NULL
AND (t.events = '{}' OR e.event_type = ANY (t.events))
AND (t.sources = '{}' OR e.source = ANY (t.sources))`

// missingRuns is FROM and WHERE of the events and job types between which a run
// is missing, for a window of events. OFFSET 0 keeps the look-up a look-up, by kind
// as well.
func (f ReplayFilter) missingRuns() string {
	return `FROM lumin.events e JOIN lumin.job_types t ON t.kind = ANY (@kinds::text[])
` + f.mayMissRun() + `
AND NOT EXISTS (SELECT FROM lumin.runs r WHERE r.event_key = e.event_key AND r.job_kind = t.kind OFFSET 0)`
}

// missingRunsOfOne is the same for all events and one job type. The planner gets the
// subscription as parameters, which makes counting several times as fast.
func (f ReplayFilter) missingRunsOfOne() string {
	return `FROM lumin.events e
CROSS JOIN (SELECT @type_kind::text AS kind, @type_events::text[] AS events, @type_sources::text[] AS sources) t
` + f.mayMissRun() + `
AND NOT EXISTS (SELECT FROM lumin.runs r WHERE r.event_key = e.event_key AND r.job_kind = t.kind)`
}

func (f ReplayFilter) mayMissRun() string {
	return `WHERE ` + wantedBy + f.hasBody() + ` AND ` + matchesIdentity + ` AND ` + f.matchesKey("e")
}

// PlannedReplay is what an order would do to the runs of one job type.
type PlannedReplay struct {
	Kind       string // empty: events that would be made out of unrecognized ones
	Runs       int64
	FirstEvent *time.Time    // received
	LastEvent  *time.Time    // received
	Estimate   time.Duration // at the pace of the last jobs of this kind; 0 when there are none
}

// planSQL counts by job type. Copies of an event share a run, so a count of events
// is a count of distinct keys. The first and last event are found by their ids,
// which grow with time, so that a plan for all runs reads no events.
func planSQL(kind, count, event, runs string) string {
	return `
WITH p AS (
    SELECT ` + kind + ` AS kind, count(` + count + `) AS n, min(` + event + `) AS first_id, max(` + event + `) AS last_id
    ` + runs + `
    GROUP BY 1
)
SELECT p.kind, p.n, (SELECT received_at FROM lumin.events WHERE id = p.first_id),
       (SELECT received_at FROM lumin.events WHERE id = p.last_id)
FROM p ORDER BY 1`
}

// PlanReplay counts what an order of this filter would put to pending now.
func (s *Store) PlanReplay(ctx context.Context, f ReplayFilter) ([]PlannedReplay, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	if f.Status == ReplayUnrecognized {
		return s.planUnrecognized(ctx, f)
	}
	plan, err := s.planRuns(ctx, f)
	if err != nil {
		return nil, err
	}
	return plan, s.estimate(ctx, plan)
}

func (s *Store) planRuns(ctx context.Context, f ReplayFilter) (plan []PlannedReplay, err error) {
	err = pgx.BeginTxFunc(ctx, s.pool, readCommitted, func(tx pgx.Tx) (err error) {
		if f.Status == ReplayMissing {
			plan, err = planMissing(ctx, tx, f)
		} else {
			plan, err = planRuns(ctx, tx, f.matchingRuns(), f.args())
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("plan replay: %w", err)
	}
	return plan, nil
}

func planRuns(ctx context.Context, tx pgx.Tx, runs string, args pgx.NamedArgs) ([]PlannedReplay, error) {
	return plan(ctx, tx, planSQL("r.job_kind", "*", "r.event_id", runs), args)
}

func planMissing(ctx context.Context, tx pgx.Tx, f ReplayFilter) ([]PlannedReplay, error) {
	rows, err := tx.Query(ctx, `SELECT kind, events, sources FROM lumin.job_types WHERE kind = ANY ($1) ORDER BY kind`, f.Kinds)
	if err != nil {
		return nil, err
	}
	types, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t JobType, err error) {
		return t, row.Scan(&t.Kind, &t.Events, &t.Sources)
	})
	if err != nil {
		return nil, err
	}
	var all []PlannedReplay
	for _, t := range types {
		args := f.args()
		args["type_kind"], args["type_events"], args["type_sources"] = t.Kind, t.Events, t.Sources
		some, err := plan(ctx, tx, planSQL("t.kind", "DISTINCT e.event_key", "e.id", f.missingRunsOfOne()), args)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

func plan(ctx context.Context, tx pgx.Tx, sql string, args pgx.NamedArgs) ([]PlannedReplay, error) {
	// Hashes of a million ids fit, and compiling takes longer than counting.
	if _, err := tx.Exec(ctx, `SET LOCAL work_mem = '64MB'; SET LOCAL jit = off`); err != nil {
		return nil, err
	}
	// Planned for the filter given: see ListEvents.
	rows, err := tx.Query(ctx, sql, pgx.QueryExecModeCacheDescribe, args)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (p PlannedReplay, err error) {
		return p, row.Scan(&p.Kind, &p.Runs, &p.FirstEvent, &p.LastEvent)
	})
}

// The last thousand completed jobs, in River's order of state and time.
const paceSQL = `
SELECT kind, (extract(epoch FROM sum(finalized_at - attempted_at)) / count(*))::float8
FROM (SELECT kind, finalized_at, attempted_at FROM lumin.river_job
      WHERE state = 'completed' AND finalized_at IS NOT NULL ORDER BY finalized_at DESC LIMIT 1000) j
GROUP BY kind`

// estimateWorkers is how many jobs of a kind are taken to run side by side: the
// default of a worker.
const estimateWorkers = 16

func (s *Store) estimate(ctx context.Context, plan []PlannedReplay) error {
	rows, err := s.pool.Query(ctx, paceSQL)
	if err != nil {
		return fmt.Errorf("look at the pace of jobs: %w", err)
	}
	var (
		kind    string
		seconds float64
		pace    = map[string]float64{}
	)
	if _, err := pgx.ForEachRow(rows, []any{&kind, &seconds}, func() error { pace[kind] = max(seconds, 0); return nil }); err != nil {
		return fmt.Errorf("look at the pace of jobs: %w", err)
	}
	for i, p := range plan {
		plan[i].Estimate = time.Duration(float64(p.Runs) * pace[p.Kind] / estimateWorkers * float64(time.Second))
	}
	return nil
}

// unrecognizedSQL chooses copies that match themselves, because each stored copy is
// decoded for its own source.
func unrecognizedSQL() string {
	return `
SELECT e.id, e.source, e.payload, e.signature, e.key_id, e.received_at
FROM lumin.events e
WHERE e.signature_request_id IS NULL AND e.payload IS NOT NULL AND ` + matchesCopy("e") + `
  AND (cardinality(@ids::bigint[]) = 0 OR e.event_key = ANY (ARRAY(SELECT event_key FROM lumin.events WHERE id = ANY (@ids))))
  AND NOT EXISTS (SELECT FROM lumin.events d WHERE d.decoded_from = e.id)
  AND e.id > @after
ORDER BY e.id LIMIT @limit`
}

// unrecognizedPage bounds what is read at once of bodies of up to 1 MiB.
const unrecognizedPage = 32

// unrecognizedEvent is one to decode anew; it makes nothing when its envelope is nil.
type unrecognizedEvent struct {
	id       int64
	delivery Delivery
}

func readUnrecognized(ctx context.Context, q interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}, f ReplayFilter, after int64, limit int,
) ([]unrecognizedEvent, error) {
	args := f.args()
	args["after"], args["limit"] = after, min(limit, unrecognizedPage)
	rows, err := q.Query(ctx, unrecognizedSQL(), args)
	if err != nil {
		return nil, fmt.Errorf("read unrecognized events: %w", err)
	}
	events, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (u unrecognizedEvent, err error) {
		d := &u.delivery
		if err := row.Scan(&u.id, &d.Source, &d.Payload, &d.Signature, &d.KeyID, &d.ReceivedAt); err != nil {
			return u, err
		}
		if envelope, err := lumin.DecodeEnvelope(d.Payload); err == nil && envelope.CheckTime() == nil {
			d.Envelope = &envelope
		}
		return u, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read unrecognized events: %w", err)
	}
	return events, nil
}

func (s *Store) planUnrecognized(ctx context.Context, f ReplayFilter) ([]PlannedReplay, error) {
	p := PlannedReplay{}
	for after := int64(0); ; {
		page, err := readUnrecognized(ctx, s.pool, f, after, unrecognizedPage)
		if err != nil {
			return nil, fmt.Errorf("plan replay: %w", err)
		}
		for _, u := range page {
			after = u.id
			if u.delivery.Envelope == nil {
				continue
			}
			p.Runs++
			p.LastEvent = &u.delivery.ReceivedAt
			if p.FirstEvent == nil {
				p.FirstEvent = p.LastEvent
			}
		}
		if len(page) == 0 {
			break
		}
	}
	if p.Runs == 0 {
		return nil, nil
	}
	return []PlannedReplay{p}, nil
}
