package api

import (
	"context"
	"net/http"
	"time"

	"lumin-ingest/admin/access"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

const eventsTag = "Events"

// Page is the part of a list's parameters that all lists share.
type Page struct {
	Limit  int    `query:"limit" default:"50" minimum:"1" maximum:"1000" doc:"The most rows of a page."`
	Cursor string `query:"cursor" maxLength:"4000" doc:"The value next of the previous page. Without it, the list begins."`
}

// EventPage is a page of events.
type EventPage struct {
	Events []store.EventSummary `json:"events"`
	Next   *string              `json:"next"`
}

// EventQuery chooses events.
type EventQuery struct {
	Source             string    `query:"source" maxLength:"100" doc:"Only of this source: account, app:NAME or recovered."`
	EventType          string    `query:"event_type" maxLength:"200" doc:"Only of this event type, such as signature_request_approved."`
	SignatureRequestID string    `query:"signature_request_id" maxLength:"1000" doc:"Only of this signature request."`
	Unrecognized       bool      `query:"unrecognized" doc:"Only events without a usable identity, which no job type gets."`
	Late               bool      `query:"late" doc:"Only late events, which were stored without runs."`
	Since              time.Time `query:"received_since" doc:"Only events received at this time or later."`
	Until              time.Time `query:"received_until" doc:"Only events received before this time."`
	Before             int64     `query:"before" minimum:"0" doc:"Only events that come before the event with this id."`
	After              int64     `query:"after" minimum:"0" doc:"Only events that come after the event with this id."`
	Order              string    `query:"order" enum:"newest,oldest" default:"newest" doc:"Which events come first."`
}

func (a *api) events() {
	add(a, operation{
		id: "list-events", method: http.MethodGet, path: "/events", tag: eventsTag, role: access.Read,
		summary:     "List events",
		description: "Lists events in the order of their receipt. The filters combine: an event must match each of them.",
		errors:      []int{http.StatusNotFound},
	}, a.listEvents)
	add(a, operation{
		id: "show-event", method: http.MethodGet, path: "/events/{id}", tag: eventsTag, role: access.Read,
		summary:     "Show an event",
		description: "Shows an event with its redeliveries and its runs, and without its body.",
		errors:      []int{http.StatusNotFound},
	}, func(ctx context.Context, in *struct {
		ID int64 `path:"id" doc:"The event's id."`
	}) (store.EventDetails, error) {
		return a.window.Event(ctx, in.ID)
	})
	add(a, operation{
		id: "find-events-by-key", method: http.MethodGet, path: "/event-keys/{key}/events", tag: eventsTag, role: access.Read,
		summary:     "Find events by event key",
		description: "Lists the events with an event key, one for each source that reported it. The list may be empty.",
	}, a.eventsByKey)
	add(a, operation{
		id: "find-event-by-job", method: http.MethodGet, path: "/jobs/{id}/events", tag: eventsTag, role: access.Read,
		summary:     "Find the event of a job",
		description: "Finds the event that a job works on, or has worked on. The queue keeps a finished job for some days: after that, it is not found.",
		errors:      []int{http.StatusNotFound},
	}, func(ctx context.Context, in *struct {
		ID int64 `path:"id" doc:"The job's id, as in River."`
	}) (EventPage, error) {
		id, err := a.window.EventOfJob(ctx, in.ID)
		if err != nil {
			return EventPage{}, err
		}
		event, err := a.window.Event(ctx, id)
		return EventPage{Events: []store.EventSummary{event.EventSummary}}, err
	})
}

func (a *api) listEvents(ctx context.Context, in *struct {
	EventQuery
	Page
}) (EventPage, error) {
	f := store.EventFilter{
		Source: in.Source, EventType: in.EventType, SignatureRequestID: in.SignatureRequestID, Unrecognized: in.Unrecognized, Late: in.Late,
		ReceivedSince: timeOf(in.Since), ReceivedUntil: timeOf(in.Until), OldestFirst: in.Order == "oldest", Limit: in.Limit,
	}
	for id, position := range map[*int64]*store.EventPosition{&in.Before: &f.Before, &in.After: &f.After} {
		if *id != 0 {
			e, err := a.window.Event(ctx, *id)
			if err != nil {
				return EventPage{}, err
			}
			*position = e.Position()
		}
	}
	list := listOf("list-events", in.EventQuery)
	from, err := parseCursor(list, in.Cursor)
	if err != nil {
		return EventPage{}, err
	}
	if from.ID != 0 {
		position := store.EventPosition{ReceivedAt: from.At, ID: from.ID}
		if f.OldestFirst {
			f.After = position
		} else {
			f.Before = position
		}
	}
	var p EventPage
	for e, err := range a.window.Events(ctx, f) {
		if err != nil {
			return p, err
		}
		p.Events = append(p.Events, e)
	}
	if len(p.Events) == in.Limit {
		last := p.Events[len(p.Events)-1].Position()
		next := cursor{List: list, At: last.ReceivedAt.UTC(), ID: last.ID}.String()
		p.Next = &next
	}
	return p, nil
}

func (a *api) eventsByKey(ctx context.Context, in *struct {
	Key string `path:"key" doc:"The event key, a UUID."`
}) (EventPage, error) {
	key, err := lumin.ParseEventKey(in.Key)
	if err != nil {
		return EventPage{}, invalid{err}
	}
	events, err := a.window.EventsByKey(ctx, key)
	return EventPage{Events: events}, err
}

// timeOf returns nil for a time that was not given.
func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
