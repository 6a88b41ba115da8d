package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

// EventFilter chooses events to list. Zero fields match all events.
type EventFilter struct {
	Source             string
	EventType          string
	SignatureRequestID string
	Unrecognized       bool // only events without a valid identity
	Late               bool // only late events
	ReceivedSince      *time.Time
	ReceivedUntil      *time.Time
	Before             EventPosition // only older events; zero for no bound
	After              EventPosition // only newer events; zero for no bound
	OldestFirst        bool          // instead of the newest
	Limit              int
	Bodies             bool // Events also returns the signed bodies

	lastID int64 // only ids up to this one; 0 for no bound
}

// EventPosition is the place of an event in a list. Events received at the same
// time are ordered by id.
type EventPosition struct {
	ReceivedAt time.Time
	ID         int64
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
	Runs               RunStates  `json:"runs"`
	PromotedFrom       *int64     `json:"promoted_from,omitempty"` // the event that this one was promoted from
	Late               bool       `json:"late,omitempty"`          // stored without runs, because its first delivery was too old

	*EventBody `db:"-"` // nil unless the filter has Bodies
}

// RunStates counts the runs in each state. States without runs are not
// included.
type RunStates map[string]int64

// String has the form "1 failed, 2 succeeded". It is empty without runs.
func (s RunStates) String() string {
	var parts []string
	for _, state := range slices.Sorted(maps.Keys(s)) {
		parts = append(parts, strconv.FormatInt(s[state], 10)+" "+state)
	}
	return strings.Join(parts, ", ")
}

// Position is the place of the event in a list.
func (e EventSummary) Position() EventPosition { return EventPosition{e.ReceivedAt, e.ID} }

const summaryColumns = `
    e.id, e.event_key::text, e.source, e.event_type, e.signature_request_id, e.event_time, e.received_at,
    (SELECT coalesce(sum(d.count), 0)::bigint FROM lumin.redeliveries d WHERE d.event_id = e.id),
    (SELECT coalesce(jsonb_object_agg(s.state, s.n), '{}')
     FROM (SELECT r.state, count(*) AS n FROM lumin.runs r WHERE r.event_key = e.event_key GROUP BY r.state) s),
    e.promoted_from, e.late`

// Number of events that Events reads at once. It is smaller with bodies,
// because each of them may have 1 MiB.
const (
	exportPage       = 1000
	exportBodiesPage = 32
)

// Events returns all events that match, in the order of ListEvents. It reads
// page by page: it holds few of them in memory, and no snapshot of the
// database. Limit bounds the total; 0 means no bound. The sequence ends with
// the first error.
func (s *Store) Events(ctx context.Context, f EventFilter) iter.Seq2[EventSummary, error] {
	return func(yield func(EventSummary, error) bool) {
		left, size := f.Limit, exportPage
		if f.Bodies {
			size = exportBodiesPage
		}
		for {
			f.Limit = size
			if left > 0 {
				f.Limit = min(left, size)
			}
			page, err := s.ListEvents(ctx, f)
			if err == nil && f.Bodies {
				err = s.addBodies(ctx, page)
			}
			if err != nil {
				yield(EventSummary{}, err)
				return
			}
			for _, e := range page {
				if f.OldestFirst {
					f.After = e.Position()
				} else {
					f.Before = e.Position()
				}
				if f.Bodies && e.EventBody == nil {
					continue // removed meanwhile
				}
				if err := s.addRepeated(ctx, e); err != nil {
					yield(EventSummary{}, err)
					return
				}
				if !yield(e, nil) {
					return
				}
			}
			if left -= len(page); len(page) < f.Limit || left == 0 {
				return
			}
		}
	}
}

const eventsByIDSQL = `
SELECT ` + summaryColumns + `
FROM lumin.events e WHERE e.id = ANY ($1) ORDER BY e.id`

// eventsByID returns the events with these ids that still exist, by id.
func (s *Store) eventsByID(ctx context.Context, ids []int64) ([]EventSummary, error) {
	return query.Structs[EventSummary](ctx, s.pool, "load events", eventsByIDSQL, ids)
}

// ListEvents returns a page of events: the newest first, unless the filter has
// OldestFirst.
func (s *Store) ListEvents(ctx context.Context, f EventFilter) ([]EventSummary, error) {
	// The plan depends on the filter. A generic plan reads every event, even if
	// the filter matches few.
	return query.Structs[EventSummary](ctx, s.pool, "list events", f.listSQL(), pgx.QueryExecModeCacheDescribe, f.listArgs())
}

// Run is the run of one job type on one event.
type Run struct {
	Kind       string     `json:"kind"`
	State      string     `json:"state"`
	ReplayID   int64      `json:"replay_id"`
	JobID      *int64     `json:"job_id"`
	Attempts   int        `json:"attempts"`
	Error      *string    `json:"error"`
	CreatedAt  time.Time  `json:"created_at"`
	FinishedAt *time.Time `json:"finished_at"`

	// SucceededBefore is true if the run took effect before it was replayed,
	// whatever the result of the replay.
	SucceededBefore bool `json:"succeeded_before"`
}

// Redelivery is one distinct repeated body of an event.
type Redelivery struct {
	Differs string    `json:"differs"`
	Count   int64     `json:"count"`
	FirstAt time.Time `json:"first_at"`
	LastAt  time.Time `json:"last_at"`
}

// EventDetails describes one event, without its body.
type EventDetails struct {
	EventSummary
	PayloadSize      *int64       `json:"payload_size"` // bytes; 0 once removed; nil if this role may not read bodies
	PayloadRemovedAt *time.Time   `json:"payload_removed_at"`
	KeyID            string       `json:"key_id"`
	Repeated         []Redelivery `json:"repeated"`
	RunsByKind       []Run        `json:"runs_by_kind"`
}

const showEventSQL = `
SELECT ` + summaryColumns + `,
    e.payload_removed_at, e.key_id
FROM lumin.events e WHERE e.id = $1`

// ShowEvent returns one event. The error is ErrNotFound if no event has this
// id.
func (s *Store) ShowEvent(ctx context.Context, id int64) (EventDetails, error) {
	var d EventDetails
	err := s.pool.QueryRow(ctx, showEventSQL, id).Scan(&d.ID, &d.Key, &d.Source, &d.EventType, &d.SignatureRequestID,
		&d.EventTime, &d.ReceivedAt, &d.Redeliveries, &d.Runs, &d.PromotedFrom, &d.Late, &d.PayloadRemovedAt, &d.KeyID)
	if errors.Is(err, pgx.ErrNoRows) {
		return d, fmt.Errorf("event %d: %w", id, ErrNotFound)
	}
	if err != nil {
		return d, fmt.Errorf("load event %d: %w", id, err)
	}
	if d.PayloadSize, err = s.payloadSize(ctx, id); err != nil {
		return d, err
	}
	d.Repeated, err = query.Structs[Redelivery](ctx, s.pool, fmt.Sprintf("load redeliveries of event %d", id), `
		SELECT differs, count, first_at, last_at FROM lumin.redeliveries
		WHERE event_id = $1 ORDER BY first_at`, id)
	if err != nil {
		return d, err
	}
	d.RunsByKind, err = query.Structs[Run](ctx, s.pool, fmt.Sprintf("load runs of event %d", id), `
		SELECT job_kind, state, replay_id, job_id, attempts, error, created_at, finished_at, rerun > 0
		FROM lumin.runs WHERE event_key = $1::uuid ORDER BY job_kind`, d.Key)
	return d, err
}

// payloadSize returns the size of a body, or nil if this role may not read
// bodies.
func (s *Store) payloadSize(ctx context.Context, id int64) (*int64, error) {
	var size int64
	err := s.pool.QueryRow(ctx, `SELECT coalesce(octet_length(payload), 0)::bigint FROM lumin.events WHERE id = $1`, id).Scan(&size)
	switch {
	case hasCode(err, pgerrcode.InsufficientPrivilege):
		return nil, nil //nolint:nilnil // documented
	case err != nil && !errors.Is(err, pgx.ErrNoRows): // retention may have just removed the event
		return nil, fmt.Errorf("read the size of event %d: %w", id, err)
	}
	return &size, nil
}

// ErrPayloadRemoved means that retention or erasure has removed a body.
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
