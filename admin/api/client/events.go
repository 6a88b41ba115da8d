package client

import (
	"context"
	"iter"
	"net/url"
	"strconv"
	"time"

	"lumin-ingest/admin/api"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// maxPage is the largest page that the server returns.
const maxPage = 1000

// Events returns all events that match, page by page.
func (c *Client) Events(ctx context.Context, f store.EventFilter) iter.Seq2[store.EventSummary, error] {
	return func(yield func(store.EventSummary, error) bool) {
		left, query := f.Limit, eventQuery(f)
		for {
			size := maxPage
			if f.Limit > 0 {
				size = min(left, maxPage)
			}
			query.Set("limit", strconv.Itoa(size))
			var page api.EventPage
			if err := c.get(ctx, "/events", query, &page); err != nil {
				yield(store.EventSummary{}, err)
				return
			}
			for _, e := range page.Events {
				if !yield(e, nil) {
					return
				}
			}
			if left -= len(page.Events); page.Next == nil || left == 0 {
				return
			}
			query.Set("cursor", *page.Next)
		}
	}
}

func eventQuery(f store.EventFilter) url.Values {
	q := url.Values{}
	setText(q, "source", f.Source)
	setText(q, "event_type", f.EventType)
	setText(q, "signature_request_id", f.SignatureRequestID)
	setTime(q, "received_since", f.ReceivedSince)
	setTime(q, "received_until", f.ReceivedUntil)
	setID(q, "before", f.Before.ID)
	setID(q, "after", f.After.ID)
	setFlag(q, "unrecognized", f.Unrecognized)
	setFlag(q, "late", f.Late)
	if f.OldestFirst {
		q.Set("order", "oldest")
	}
	return q
}

// Event returns one event.
func (c *Client) Event(ctx context.Context, id int64) (e store.EventDetails, err error) {
	return e, c.get(ctx, "/events/"+strconv.FormatInt(id, 10), nil, &e)
}

// EventsByKey returns the events of a key.
func (c *Client) EventsByKey(ctx context.Context, key lumin.EventKey) ([]store.EventSummary, error) {
	var page api.EventPage
	err := c.get(ctx, "/event-keys/"+key.String()+"/events", nil, &page)
	return page.Events, err
}

// EventsByJob returns the event of the run that a job worked on.
func (c *Client) EventsByJob(ctx context.Context, job int64) ([]store.EventSummary, error) {
	var page api.EventPage
	err := c.get(ctx, "/jobs/"+strconv.FormatInt(job, 10)+"/events", nil, &page)
	return page.Events, err
}

// The functions set below leave out what was not given.

func setText(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

func setID(q url.Values, name string, id int64) {
	if id != 0 {
		q.Set(name, strconv.FormatInt(id, 10))
	}
}

func setTime(q url.Values, name string, at *time.Time) {
	if at != nil {
		q.Set(name, at.UTC().Format(time.RFC3339Nano))
	}
}

func setFlag(q url.Values, name string, set bool) {
	if set {
		q.Set(name, "true")
	}
}
