package client

import (
	"context"
	"net/url"
	"strconv"

	"lumin-ingest/admin/api"
	"lumin-ingest/admin/window"
	"lumin-ingest/store"
	"lumin-ingest/store/replay"
)

// PlanReplay counts the runs that a replay with this filter would repeat now.
func (c *Client) PlanReplay(ctx context.Context, f replay.Filter, exact bool) (window.Plan, error) {
	return c.plan(ctx, "/replays/plan", f, exact)
}

func (c *Client) plan(ctx context.Context, path string, f replay.Filter, exact bool) (plan window.Plan, err error) {
	return plan, c.post(ctx, path, api.PlanRequest{Filter: api.RunFilter(f), Exact: exact}, &plan)
}

// Replay places an order and returns its id.
func (c *Client) Replay(ctx context.Context, n replay.NewOrder) (int64, error) {
	var ordered api.Ordered
	err := c.order(ctx, "/replays", api.ReplayRequest{Filter: api.RunFilter(n.Filter), Rate: n.Rate, Reason: n.Reason}, &ordered)
	return ordered.ID, err
}

// Replays returns the newest orders first, page by page up to limit: those older than
// an order, or all if before is 0.
func (c *Client) Replays(ctx context.Context, before int64, limit int) (orders []replay.Order, err error) {
	q := url.Values{}
	setID(q, "before", before)
	for len(orders) < limit {
		q.Set("limit", limitText(limit-len(orders)))
		var page api.ReplayList
		if err := c.get(ctx, "/replays", q, &page); err != nil {
			return orders, err
		}
		orders = append(orders, page.Replays...)
		if page.Next == nil {
			break
		}
		q.Set("cursor", *page.Next)
	}
	return orders, nil
}

// ReplayOrder returns one order.
func (c *Client) ReplayOrder(ctx context.Context, id int64) (replay.Order, error) {
	d, err := c.replay(ctx, id)
	return d.Order, err
}

// ReplayRuns counts the runs of an order by job type and state.
func (c *Client) ReplayRuns(ctx context.Context, id int64) ([]store.RunCount, error) {
	d, err := c.replay(ctx, id)
	return d.RunCounts, err
}

func (c *Client) replay(ctx context.Context, id int64) (d api.ReplayDetails, err error) {
	return d, c.get(ctx, "/replays/"+strconv.FormatInt(id, 10), nil, &d)
}

// CancelReplay ends an order.
func (c *Client) CancelReplay(ctx context.Context, id int64, reason string) error {
	return c.order(ctx, "/replays/"+strconv.FormatInt(id, 10)+"/cancel", api.ReasonRequest{Reason: reason}, &api.Done{})
}
