package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// EventFilter chooses events to list. Parts that are not set do not narrow.
type EventFilter struct {
	Source             string
	EventType          string
	SignatureRequestID string
	Unrecognized       bool // only those without a sound identity
	ReceivedSince      *time.Time
	ReceivedUntil      *time.Time
	Before             int64 // only ids below this one; 0 for no bound
	Limit              int
}

// EventSummary is one line of a list of events.
type EventSummary struct {
	ID                 int64      `json:"id"`
	Key                string     `json:"event_key"`
	Source             string     `json:"source"`
	EventType          *string    `json:"event_type"`
	SignatureRequestID *string    `json:"signature_request_id"`
	EventTime          *time.Time `json:"event_time"`
	ReceivedAt         time.Time  `json:"received_at"`
	Redeliveries       int64      `json:"redeliveries"`
	Runs               string     `json:"runs"` // "2 succeeded, 1 failed"; empty without runs
}

const summaryColumns = `
    e.id, e.event_key::text, e.source, e.event_type, e.signature_request_id, e.event_time, e.received_at,
    (SELECT coalesce(sum(d.count), 0)::bigint FROM lumin.redeliveries d WHERE d.event_id = e.id),
    (SELECT coalesce(string_agg(s.n || ' ' || s.state, ', ' ORDER BY s.state), '')
     FROM (SELECT r.state, count(*) AS n FROM lumin.runs r WHERE r.event_key = e.event_key GROUP BY r.state) s)`

const listEventsSQL = `
SELECT ` + summaryColumns + `
FROM lumin.events e
WHERE ($1 = '' OR e.source = $1)
  AND ($2 = '' OR e.event_type = $2)
  AND ($3 = '' OR e.signature_request_id = $3)
  AND (NOT $4 OR e.signature_request_id IS NULL)
  AND ($5::timestamptz IS NULL OR e.received_at >= $5)
  AND ($6::timestamptz IS NULL OR e.received_at < $6)
  AND ($7 = 0 OR e.id < $7)
ORDER BY e.id DESC LIMIT $8`

// ListEvents returns the newest events first.
func (s *Store) ListEvents(ctx context.Context, f EventFilter) ([]EventSummary, error) {
	// Planned for the filter given: a plan for all of them reads every event when a
	// filter matches few.
	rows, err := s.pool.Query(ctx, listEventsSQL, pgx.QueryExecModeCacheDescribe, f.Source, f.EventType, f.SignatureRequestID,
		f.Unrecognized, f.ReceivedSince, f.ReceivedUntil, f.Before, f.Limit)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	events, err := pgx.CollectRows(rows, pgx.RowToStructByPos[EventSummary])
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	return events, nil
}

// Run is one job type on one event.
type Run struct {
	Kind       string     `json:"kind"`
	State      string     `json:"state"`
	ReplayID   int64      `json:"replay_id"`
	JobID      *int64     `json:"job_id"`
	Attempts   int        `json:"attempts"`
	Error      *string    `json:"error"`
	CreatedAt  time.Time  `json:"created_at"`
	FinishedAt *time.Time `json:"finished_at"`
}

// Redelivery is one distinct repeated body of an event.
type Redelivery struct {
	Differs string    `json:"differs"`
	Count   int64     `json:"count"`
	FirstAt time.Time `json:"first_at"`
	LastAt  time.Time `json:"last_at"`
}

// EventDetails is all that is known of one event, without its body.
type EventDetails struct {
	EventSummary
	PayloadSize      int64        `json:"payload_size"` // bytes; 0 once removed
	PayloadRemovedAt *time.Time   `json:"payload_removed_at"`
	KeyID            string       `json:"key_id"`
	Repeated         []Redelivery `json:"repeated"`
	RunsByKind       []Run        `json:"runs_by_kind"`
}

const showEventSQL = `
SELECT ` + summaryColumns + `,
    coalesce(octet_length(e.payload), 0)::bigint, e.payload_removed_at, e.key_id
FROM lumin.events e WHERE e.id = $1`

// ShowEvent returns one event; ErrNotFound if there is none of that id.
func (s *Store) ShowEvent(ctx context.Context, id int64) (EventDetails, error) {
	var d EventDetails
	err := s.pool.QueryRow(ctx, showEventSQL, id).Scan(&d.ID, &d.Key, &d.Source, &d.EventType, &d.SignatureRequestID,
		&d.EventTime, &d.ReceivedAt, &d.Redeliveries, &d.Runs, &d.PayloadSize, &d.PayloadRemovedAt, &d.KeyID)
	if errors.Is(err, pgx.ErrNoRows) {
		return d, fmt.Errorf("event %d: %w", id, ErrNotFound)
	}
	if err != nil {
		return d, fmt.Errorf("load event %d: %w", id, err)
	}
	rows, err := s.pool.Query(ctx, `
		SELECT differs, count, first_at, last_at FROM lumin.redeliveries
		WHERE event_id = $1 ORDER BY first_at`, id)
	if err != nil {
		return d, fmt.Errorf("load redeliveries of event %d: %w", id, err)
	}
	if d.Repeated, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Redelivery]); err != nil {
		return d, fmt.Errorf("load redeliveries of event %d: %w", id, err)
	}
	rows, err = s.pool.Query(ctx, `
		SELECT job_kind, state, replay_id, job_id, attempts, error, created_at, finished_at
		FROM lumin.runs WHERE event_key = $1::uuid ORDER BY job_kind`, d.Key)
	if err != nil {
		return d, fmt.Errorf("load runs of event %d: %w", id, err)
	}
	if d.RunsByKind, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Run]); err != nil {
		return d, fmt.Errorf("load runs of event %d: %w", id, err)
	}
	return d, nil
}

// ErrPayloadRemoved says that retention or erasure has removed a body.
var ErrPayloadRemoved = errors.New("the payload has been removed")

// Payload returns the exact bytes that were signed.
func (s *Store) Payload(ctx context.Context, id int64) ([]byte, error) {
	var payload []byte
	err := s.pool.QueryRow(ctx, `SELECT payload FROM lumin.events WHERE id = $1`, id).Scan(&payload)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, fmt.Errorf("event %d: %w", id, ErrNotFound)
	case err != nil:
		return nil, fmt.Errorf("load payload of event %d: %w", id, err)
	case payload == nil:
		return nil, fmt.Errorf("event %d: %w", id, ErrPayloadRemoved)
	}
	return payload, nil
}

// RunCounts counts runs by job type and state.
func (s *Store) RunCounts(ctx context.Context) ([]RunCount, error) {
	rows, err := s.pool.Query(ctx, `SELECT job_kind, state, count(*) FROM lumin.runs GROUP BY 1, 2 ORDER BY 1, 2`)
	if err != nil {
		return nil, fmt.Errorf("count runs: %w", err)
	}
	counts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[RunCount])
	if err != nil {
		return nil, fmt.Errorf("count runs: %w", err)
	}
	return counts, nil
}

// OldestPending is how long the oldest pending run has been pending; 0 when none
// is.
func (s *Store) OldestPending(ctx context.Context) (time.Duration, error) {
	var seconds float64
	err := s.pool.QueryRow(ctx, `
		SELECT coalesce(extract(epoch FROM now() - min(pending_since)), 0)::float8
		FROM lumin.runs WHERE state = 'pending'`).Scan(&seconds)
	if err != nil {
		return 0, fmt.Errorf("look for the oldest pending run: %w", err)
	}
	return time.Duration(max(seconds, 0) * float64(time.Second)), nil
}
