package store

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
	"lumin-ingest/lumin"
)

// Search chooses events for a person who looks for one. Zero fields match all
// events. Unlike [EventFilter] it also looks at the runs of an event.
type Search struct {
	// ID is the id of an event or of a job, an event key, a signature request id,
	// or the beginning of one of the last two.
	ID string

	State       string // of a run: see SearchStates; empty for any
	Kind        string // the job type of a run
	Fingerprint string // the error fingerprint of a run

	Source             string
	EventType          string
	SignatureRequestID string
	ReceivedSince      *time.Time
	ReceivedUntil      *time.Time

	Unrecognized bool // only events without a valid identity
	Late         bool // only late events

	looks int // instead of eventLooks and runLooks; 0: these
}

// SearchStates returns the states that a [Search] can choose. "pending" includes
// "retrying", which are runs that wait for an attempt after a failed one.
func SearchStates() []string {
	return []string{"failed", "retrying", "pending", "parked", "succeeded", "cancelled", "dismissed"}
}

// ofRun reports whether a run of the event must match.
func (s Search) ofRun() bool { return s.State != "" || s.Kind != "" || s.Fingerprint != "" }

// SearchPosition is the place at which a page ended. The zero position is the
// beginning. A position belongs to the search that it came from.
type SearchPosition struct {
	At   time.Time // when the event was received or happened, or the run became pending
	ID   int64     // of an event
	Key  lumin.EventKey
	Kind string // of a run; empty after the last run of Key

	Request string // a signature request id; only of a search for the beginning of an id
}

// SearchPage is one page of a search.
type SearchPage struct {
	Events []EventSummary

	// Next is where the next page begins; nil after the last.
	Next *SearchPosition

	// Stopped is true if the page ended because it had looked at enough rows, not
	// because it was full. So even an empty page can have a next one.
	Stopped bool
}

// A page looks at this many rows at most, so that it takes at most some 20 ms
// however few of them match. Rows of a partial index on runs cost less than events
// whose runs are looked up.
const (
	eventLooks = 1000
	runLooks   = 2000
)

// Search returns a page of at most limit events, the newest first: by the time of
// receipt, by event time if the state chooses runs that are finished or retrying,
// or by the time since when they are pending. Copies of an event from several
// sources are returned together, and may exceed the limit.
//
// A search for an id follows the order of the ids: first events with exactly this
// number, then event keys, then signature requests. Each of its pages has its newest
// event first.
func (s *Store) Search(ctx context.Context, f Search, from SearchPosition, limit int) (SearchPage, error) {
	for _, text := range []string{f.ID, f.State, f.Kind, f.Fingerprint, f.Source, f.EventType, f.SignatureRequestID} {
		if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return SearchPage{Events: []EventSummary{}}, nil // the database cannot hold such a text
		}
	}
	if f.ID != "" {
		return s.searchByID(ctx, f, from, limit)
	}
	if list, ok := runListOf(f.State); ok && f.SignatureRequestID == "" {
		return s.searchRuns(ctx, list, f, from, limit)
	}
	return s.searchEvents(ctx, f, from, limit)
}

// OFFSET 0 makes the planner look up each row. It would read a whole table otherwise,
// because it does not know how few rows are needed.

// ofEventSQL are the conditions on an event e.
const ofEventSQL = `
      AND (@source = '' OR e.source = @source)
      AND (@type = '' OR e.event_type = @type)
      AND (@request = '' OR e.signature_request_id = @request)
      AND (NOT @unrecognized OR e.signature_request_id IS NULL)
      AND (NOT @late OR e.late)
      AND (@since::timestamptz IS NULL OR e.received_at >= @since)
      AND (@until::timestamptz IS NULL OR e.received_at < @until)`

// ofRunSQL are the conditions on a run r.
const ofRunSQL = `
      AND (@kind = '' OR r.job_kind = @kind)
      AND (@fingerprint = '' OR coalesce(r.error_fingerprint, 'none') = @fingerprint)
      AND (@state = '' OR r.state = CASE @state WHEN 'retrying' THEN 'pending' ELSE @state END)
      AND (@state <> 'retrying' OR (r.error IS NOT NULL AND EXISTS (
          SELECT FROM (SELECT * FROM lumin.river_job q WHERE q.id = r.job_id OFFSET 0) j WHERE j.attempt > (j.state = 'running')::int)))`

func (f Search) args() pgx.NamedArgs {
	return pgx.NamedArgs{
		"source": f.Source, "type": f.EventType, "request": f.SignatureRequestID, "unrecognized": f.Unrecognized, "late": f.Late,
		"since": f.ReceivedSince, "until": f.ReceivedUntil,
		"kind": f.Kind, "fingerprint": f.Fingerprint, "state": f.State, "any_run": !f.ofRun(),
	}
}

// searchEventsSQL reads the first rows of a list of events, and returns those with
// a run that matches.
const searchEventsSQL = `
SELECT p.received_at, p.id FROM (
%s
) p JOIN lumin.events e ON e.id = p.id
WHERE (@any_run OR EXISTS (
    SELECT FROM (SELECT * FROM lumin.runs q WHERE q.event_key = e.event_key OFFSET 0) r WHERE true` + ofRunSQL + `))
ORDER BY p.received_at DESC, p.id DESC LIMIT @page`

// list are the events that a page looks at.
func (f Search) list(from SearchPosition, limit int) EventFilter {
	list := EventFilter{
		Source: f.Source, EventType: f.EventType, SignatureRequestID: f.SignatureRequestID, Unrecognized: f.Unrecognized, Late: f.Late,
		ReceivedSince: f.ReceivedSince, ReceivedUntil: f.ReceivedUntil, Before: EventPosition{from.At, from.ID}, Limit: limit + 1,
	}
	if f.ofRun() {
		list.Limit = cmp.Or(f.looks, eventLooks)
	}
	return list
}

func (f Search) eventsQuery(list EventFilter, limit int) (sql string, args pgx.NamedArgs) {
	args = f.args()
	maps.Copy(args, list.listArgs())
	args["page"] = limit + 1
	return fmt.Sprintf(searchEventsSQL, list.pageSQL()), args
}

// searchEvents goes along the events, by the index that suits the filter.
func (s *Store) searchEvents(ctx context.Context, f Search, from SearchPosition, limit int) (page SearchPage, err error) {
	list := f.list(from, limit)
	sql, args := f.eventsQuery(list, limit)
	found, err := query.Structs[EventPosition](ctx, s.pool, "search events", sql, pgx.QueryExecModeCacheDescribe, args)
	if err != nil {
		return page, err
	}
	if len(found) > limit {
		found = found[:limit]
		page.Next = &SearchPosition{At: found[limit-1].ReceivedAt, ID: found[limit-1].ID}
	} else if f.ofRun() {
		page.Next, err = s.lastLook(ctx, list)
		page.Stopped = page.Next != nil
	}
	if err == nil {
		page.Events, err = s.newestByID(ctx, found)
	}
	return page, err
}

// lastSQL selects the last event of a full page.
func (f EventFilter) lastSQL() string {
	return `SELECT p.received_at, p.id FROM (
` + f.pageSQL() + `
) p ORDER BY p.received_at DESC, p.id DESC LIMIT 1 OFFSET @limit - 1`
}

// lastLook returns the last event of a list that a page has looked at, or nil if
// the list ends before it.
func (s *Store) lastLook(ctx context.Context, list EventFilter) (*SearchPosition, error) {
	last, err := query.Structs[EventPosition](ctx, s.pool, "search events", list.lastSQL(), pgx.QueryExecModeCacheDescribe, list.listArgs())
	if err != nil || len(last) == 0 {
		return nil, err
	}
	return &SearchPosition{At: last[0].ReceivedAt, ID: last[0].ID}, nil
}

// newestByID returns events by the time of receipt.
func (s *Store) newestByID(ctx context.Context, found []EventPosition) ([]EventSummary, error) {
	ids := make([]int64, len(found))
	for i := range found {
		ids[i] = found[i].ID
	}
	return query.Structs[EventSummary](ctx, s.pool, "load events", `
SELECT `+summaryColumns+`
FROM lumin.events e WHERE e.id = ANY ($1) ORDER BY e.received_at DESC, e.id DESC`, ids)
}
