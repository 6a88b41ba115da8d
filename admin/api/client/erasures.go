package client

import (
	"context"
	"strconv"

	"lumin-ingest/admin/api"
	"lumin-ingest/store/erasure"
)

// PlanErasure counts what an erasure would remove now. It reports no progress.
func (c *Client) PlanErasure(ctx context.Context, subject erasure.Subject, _ func(searched, last int64)) (plan erasure.Plan, err error) {
	return plan, c.post(ctx, "/erasures/plan", api.ErasureRequest(subject), &plan)
}

// Erase orders the erasure of a plan and returns its id.
func (c *Client) Erase(ctx context.Context, plan erasure.Plan, reason string) (int64, error) {
	var ordered api.Ordered
	err := c.order(ctx, "/erasures", api.EraseRequest{Plan: plan, Reason: reason}, &ordered)
	return ordered.ID, err
}

// CarryOutErasure goes on with an erasure, and returns how far it has come.
func (c *Client) CarryOutErasure(ctx context.Context, id int64) (o erasure.Order, err error) {
	return o, c.post(ctx, "/erasures/"+strconv.FormatInt(id, 10)+"/continue", struct{}{}, &o)
}
