package erasure

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/store"
	"lumin-ingest/store/internal/recording"
)

// Plan is the data that an erasure would remove, as of the time of planning.
// Events that are recorded later stay, except copies of the planned events from
// other sources, and events that are promoted from conflicts of these events.
type Plan struct {
	Subject             string   `json:"subject"`               // signature_request or email
	SignatureRequestIDs []string `json:"signature_request_ids"` // all of whose events are erased
	EventIDs            []int64  `json:"event_ids"`             // of unrecognized events
	LastEventID         int64    `json:"last_event_id"`

	Events int64 `json:"events"` // whose identity stays
	Counts
	SignatureRequests int64 `json:"signature_requests"` // rows of lumin.signature_requests

	// Token is a UUID that marks the order. Order stores one with it, however often
	// it is called. Empty: no mark.
	Token string `json:"-"`
}

// Counts counts what an erasure has removed, or would remove.
type Counts struct {
	Bodies        int64 `json:"bodies"`
	Redeliveries  int64 `json:"redeliveries"` // bodies of redeliveries
	Errors        int64 `json:"errors"`       // runs and failures with error texts
	RunsCancelled int64 `json:"runs_cancelled"`
	Files         int64 `json:"files"` // archived ones
}

// Empty reports whether there is nothing to erase.
func (p Plan) Empty() bool { return p.Counts == (Counts{}) && p.SignatureRequests == 0 }

const planSQL = `
WITH t AS MATERIALIZED (
    SELECT id, event_key, payload IS NOT NULL AS kept FROM lumin.events
    WHERE (signature_request_id = ANY ($1) OR id = ANY ($2)) AND id <= $3
)
SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM t WHERE kept),
       (SELECT count(*) FROM lumin.redeliveries d WHERE d.event_id IN (SELECT id FROM t) AND d.payload IS NOT NULL),
       (SELECT count(*) FROM lumin.runs r WHERE r.event_key IN (SELECT event_key FROM t) AND r.error IS NOT NULL)
       + (SELECT count(*) FROM lumin.failures f WHERE f.event_key IN (SELECT event_key FROM t) AND f.errors IS NOT NULL),
       (SELECT count(*) FROM lumin.runs r WHERE r.event_key IN (SELECT event_key FROM t) AND r.state IN ('pending', 'parked', 'failed', 'dismissed')),
       (SELECT count(*) FROM lumin.archived_files a WHERE (a.signature_request_id = ANY ($1) OR a.event_key IN (SELECT event_key FROM t)) AND a.erasure_id IS NULL),
       (SELECT count(*) FROM lumin.signature_requests s WHERE s.signature_request_id = ANY ($1))`

// NewPlan finds the data to erase. For an e-mail address it reads every body. A
// signature request with a body that mentions the address is erased completely,
// because its other events may hold the name of the same person without the
// address. The error is [store.ErrNotFound] for an unknown signature request.
func NewPlan(ctx context.Context, pool *pgxpool.Pool, subject Subject) (Plan, error) {
	return NewPlanReporting(ctx, pool, subject, func(int64, int64) {})
}

// NewPlanReporting is like NewPlan. After each thousand bodies it calls report with
// the id of the last event that was searched and of the last one to search. The plan
// is exact, because the erasure erases what it lists. A search for an address takes
// minutes if millions of bodies are stored.
func NewPlanReporting(ctx context.Context, pool *pgxpool.Pool, subject Subject, report func(searched, last int64)) (plan Plan, err error) {
	if err := subject.Validate(); err != nil {
		return plan, err
	}
	// Events that are being recorded at this moment belong to the plan.
	if err := recording.Await(ctx, pool); err != nil {
		return plan, fmt.Errorf("plan erasure: %w", err)
	}
	plan.Subject = subject.name()
	if err := pool.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM lumin.events`).Scan(&plan.LastEventID); err != nil {
		return plan, fmt.Errorf("plan erasure: %w", err)
	}
	if err := checkRequests(ctx, pool, subject.SignatureRequestIDs); err != nil {
		return plan, err
	}
	found, err := search(ctx, pool, subject, plan.LastEventID, report)
	if err != nil {
		return plan, fmt.Errorf("plan erasure: %w", err)
	}
	plan.SignatureRequestIDs = sortedKeys(found.requests)
	plan.EventIDs = sortedKeys(found.unrecognized)
	err = pool.QueryRow(ctx, planSQL, pgx.QueryExecModeCacheDescribe, plan.SignatureRequestIDs, plan.EventIDs, plan.LastEventID).
		Scan(&plan.Events, &plan.Bodies, &plan.Redeliveries, &plan.Errors, &plan.RunsCancelled, &plan.Files, &plan.SignatureRequests)
	if err != nil {
		return plan, fmt.Errorf("plan erasure: %w", err)
	}
	return plan, nil
}

func sortedKeys[K cmp.Ordered](set map[K]bool) []K {
	keys := make([]K, 0, len(set))
	for key := range set {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

const unknownRequestsSQL = `
SELECT ARRAY(
    SELECT w.id FROM unnest($1::text[]) AS w (id)
    WHERE NOT EXISTS (SELECT FROM lumin.events e WHERE e.signature_request_id = w.id)
      AND NOT EXISTS (SELECT FROM lumin.signature_requests s WHERE s.signature_request_id = w.id)
      AND NOT EXISTS (SELECT FROM lumin.archived_files a WHERE a.signature_request_id = w.id))`

func checkRequests(ctx context.Context, pool *pgxpool.Pool, ids []string) error {
	var unknown []string
	if err := pool.QueryRow(ctx, unknownRequestsSQL, ids).Scan(&unknown); err != nil {
		return fmt.Errorf("find signature requests: %w", err)
	}
	if len(unknown) > 0 {
		return fmt.Errorf("signature request %s: %w", strings.Join(unknown, ", "), store.ErrNotFound)
	}
	return nil
}
