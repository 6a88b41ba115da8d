package client

import (
	"context"
	"slices"
	"strconv"

	"lumin-ingest/admin/api"
	"lumin-ingest/admin/window"
	"lumin-ingest/store"
)

// Payload returns the exact bytes that were signed.
func (c *Client) Payload(ctx context.Context, id int64) ([]byte, error) {
	var answer api.Payload
	err := c.post(ctx, "/events/"+strconv.FormatInt(id, 10)+"/payload/reveal", struct{}{}, &answer)
	return answer.Payload, err
}

// tail follows events through the API.
type tail struct {
	client  *Client
	request api.TailRequest
	older   map[int64]bool // events that Tail returned and that Next leaves out
}

// Tail returns the newest events that match, and a Tail for the events after them.
// The server begins with at most a page; the older ones come from the list of events.
func (c *Client) Tail(ctx context.Context, f store.EventFilter) (window.Tail, []store.EventSummary, error) {
	t := &tail{c, api.TailRequest{
		Source: f.Source, EventType: f.EventType, SignatureRequestID: f.SignatureRequestID, Late: f.Late, Lines: min(f.Limit, maxPage),
	}, map[int64]bool{}}
	events, err := t.Next(ctx)
	if err != nil || f.Limit <= maxPage || len(events) < maxPage {
		return t, events, err
	}
	f.Limit, f.Before.ID = f.Limit-len(events), events[0].ID
	var older []store.EventSummary
	for e, err := range c.Events(ctx, f) {
		if err != nil {
			return t, nil, err
		}
		older = append(older, e)
		// It may have been recorded after the tail began, which then returns it too.
		t.older[e.ID] = true
	}
	slices.Reverse(older)
	return t, append(older, events...), nil
}

// Next implements [window.Tail].
func (t *tail) Next(ctx context.Context) ([]store.EventSummary, error) {
	var page api.TailPage
	if err := t.client.post(ctx, "/events/tail", t.request, &page); err != nil {
		return nil, err
	}
	t.request.Cursor = page.Cursor
	return slices.DeleteFunc(page.Events, func(e store.EventSummary) bool { return t.older[e.ID] }), nil
}
