package client

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"lumin-ingest/admin/api"
	"lumin-ingest/admin/window"
)

// Keys lists the keys that the stored events were signed with.
func (c *Client) Keys(ctx context.Context) ([]window.KeyUse, error) {
	var list api.KeyList
	err := c.get(ctx, "/keys", nil, &list)
	return list.Keys, err
}

// Sources lists the sources that the server receives, with the keys of each.
func (c *Client) Sources(ctx context.Context) ([]api.SourceUse, error) {
	var list api.SourceList
	err := c.get(ctx, "/sources", nil, &list)
	return list.Sources, err
}

// Status reads the summary of what needs attention.
func (c *Client) Status(ctx context.Context) (s window.Status, err error) {
	return s, c.get(ctx, "/status", nil, &s)
}

// Alerts lists the alerts that hold, and those that were resolved within a time.
func (c *Client) Alerts(ctx context.Context, resolvedWithin time.Duration) (a window.Alerts, err error) {
	seconds := strconv.FormatInt(int64(resolvedWithin/time.Second), 10)
	return a, c.get(ctx, "/alerts", url.Values{"resolved_within_seconds": {seconds}}, &a)
}

// Queues counts the jobs of each queue.
func (c *Client) Queues(ctx context.Context) ([]window.Queue, error) {
	var list api.QueueList
	err := c.get(ctx, "/queues", nil, &list)
	return list.Queues, err
}

// PauseQueue makes programs take no further jobs from a queue.
func (c *Client) PauseQueue(ctx context.Context, queue, reason string) error {
	return c.order(ctx, "/queues/pause", api.QueueRequest{Queue: queue, Reason: reason}, &api.Done{})
}

// ResumeQueue ends a pause.
func (c *Client) ResumeQueue(ctx context.Context, queue, reason string) error {
	return c.order(ctx, "/queues/resume", api.QueueRequest{Queue: queue, Reason: reason}, &api.Done{})
}
