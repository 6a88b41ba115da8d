package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"lumin-ingest/admin/access"
	"lumin-ingest/admin/window"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// SearchQuery chooses events for a person who looks for one.
type SearchQuery struct {
	ID                 string    `query:"id" maxLength:"1000" doc:"The id of an event or of a job, an event key, a signature request, or the beginning of one of the last two."`
	State              string    `query:"state" enum:",failed,retrying,pending,parked,succeeded,cancelled,dismissed" doc:"Only events with a run in this state."`
	Kind               string    `query:"job_kind" maxLength:"200" doc:"Only events with a run of this job type."`
	Fingerprint        string    `query:"error_fingerprint" maxLength:"100" doc:"Only events with a run that has this error."`
	Source             string    `query:"source" maxLength:"100" doc:"Only of this source: account, app:NAME or recovered."`
	EventType          string    `query:"event_type" maxLength:"200" doc:"Only of this event type."`
	SignatureRequestID string    `query:"signature_request_id" maxLength:"1000" doc:"Only of this signature request."`
	Since              time.Time `query:"received_since" doc:"Only events received at this time or later."`
	Until              time.Time `query:"received_until" doc:"Only events received before this time."`
	Unrecognized       bool      `query:"unrecognized" doc:"Only events without a usable identity."`
	Late               bool      `query:"late" doc:"Only late events, which were stored without runs."`
}

// HistoryQuery chooses a stretch of time.
type HistoryQuery struct {
	From   time.Time `query:"from" doc:"The beginning. By default a day ago."`
	To     time.Time `query:"to" doc:"The end. By default now."`
	Source string    `query:"source" maxLength:"100" doc:"Only deliveries of this source."`
	Kind   string    `query:"job_kind" maxLength:"200" doc:"Only attempts of this job type."`
}

func (a *api) requests() {
	add(a, operation{
		id: "search-events", method: http.MethodGet, path: "/events/search", tag: eventsTag, role: access.Read,
		summary:     "Search events",
		description: "Finds events by the state of their runs and by parts of ids, the newest first. A page looks at a bounded number of rows, so it may have few events, or none, and still a next page. With an id, pages follow the order of the ids.",
	}, a.searchEvents)
	add(a, operation{
		id: "show-signature-request", method: http.MethodGet, path: "/signature-requests/one", tag: eventsTag, role: access.Read,
		summary:     "Show a signature request",
		description: "Shows the latest state of a signature request, and its events of all sources with their runs, the newest first. Addresses in its title and reason are masked.",
		errors:      []int{http.StatusNotFound},
	}, func(ctx context.Context, in *struct {
		ID string `query:"signature_request_id" required:"true" minLength:"1" maxLength:"1000" doc:"The signature request."`
	}) (window.Request, error) {
		return a.window.Request(ctx, in.ID)
	})
	add(a, operation{
		id: "show-status", method: http.MethodGet, path: "/status", tag: programsTag, role: access.Read,
		summary: "Show the status", description: "Shows what waits, runs, is retried and has failed, which lanes are held, and which programs run.",
	}, func(ctx context.Context, _ *struct{}) (window.Status, error) { return a.window.Status(ctx) })
	add(a, operation{
		id: "show-history", method: http.MethodGet, path: "/history", tag: programsTag, role: access.Read,
		summary:     "Show the history",
		description: "Counts deliveries and attempts with their durations, in steps and in total, and how long the oldest pending run had waited: by the minute for up to three hours, by the hour for up to eight days, and otherwise by the day. It is kept for 30 days. A step without anything has no point.",
	}, a.showHistory)
}

func (a *api) searchEvents(ctx context.Context, in *struct {
	SearchQuery
	Page
}) (p EventPage, err error) {
	list := listOf("search-events", in.SearchQuery)
	from, err := parseCursor(list, in.Cursor)
	if err != nil {
		return p, err
	}
	position := store.SearchPosition{At: from.At, ID: from.ID, Kind: from.Kind, Request: from.Text}
	if from.Key != "" {
		if position.Key, err = lumin.ParseEventKey(from.Key); err != nil {
			return p, errCursor
		}
	}
	q := in.SearchQuery
	page, err := a.window.Search(ctx, store.Search{
		ID: strings.TrimSpace(q.ID), State: q.State, Kind: q.Kind, Fingerprint: q.Fingerprint, Source: q.Source, EventType: q.EventType,
		SignatureRequestID: q.SignatureRequestID, ReceivedSince: timeOf(q.Since), ReceivedUntil: timeOf(q.Until), Unrecognized: q.Unrecognized, Late: q.Late,
	}, position, in.Limit)
	p.Events = page.Events
	if page.Next != nil {
		next := cursor{List: list, At: page.Next.At.UTC(), ID: page.Next.ID, Kind: page.Next.Kind, Text: page.Next.Request}
		if page.Next.Key != (lumin.EventKey{}) {
			next.Key = page.Next.Key.String()
		}
		text := next.String()
		p.Next = &text
	}
	return p, err
}

// errHistory refuses a stretch that has no steps, or too many.
var errHistory = errors.New("from must come before to, and at most five years before it")

const (
	historyDefault = 24 * time.Hour
	historyLongest = 5 * 365 * 24 * time.Hour
)

func (a *api) showHistory(ctx context.Context, in *HistoryQuery) (window.History, error) {
	if in.To.IsZero() {
		in.To = time.Now()
	}
	if in.From.IsZero() {
		in.From = in.To.Add(-historyDefault)
	}
	if !in.From.Before(in.To) || in.To.Sub(in.From) > historyLongest {
		return window.History{}, invalid{errHistory}
	}
	return a.window.History(ctx, in.From, in.To, in.Source, in.Kind)
}
