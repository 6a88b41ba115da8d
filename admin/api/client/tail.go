package client

import (
	"context"
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
}

// Tail returns the newest events that match, and a Tail for the events after them.
func (c *Client) Tail(ctx context.Context, f store.EventFilter) (window.Tail, []store.EventSummary, error) {
	t := &tail{c, api.TailRequest{
		Source: f.Source, EventType: f.EventType, SignatureRequestID: f.SignatureRequestID, Late: f.Late, Lines: min(f.Limit, maxPage),
	}}
	events, err := t.Next(ctx)
	return t, events, err
}

// Next implements [window.Tail].
func (t *tail) Next(ctx context.Context) ([]store.EventSummary, error) {
	var page api.TailPage
	if err := t.client.post(ctx, "/events/tail", t.request, &page); err != nil {
		return nil, err
	}
	t.request.Cursor = page.Cursor
	return page.Events, nil
}
