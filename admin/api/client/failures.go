package client

import (
	"context"
	"net/url"
	"time"

	"lumin-ingest/admin/api"
	"lumin-ingest/admin/window"
	"lumin-ingest/store/failures"
	"lumin-ingest/store/replay"
)

// Failures groups failed, retrying or dismissed runs by job type and error. With
// [ErrCut] it returns those groups that the server lists.
func (c *Client) Failures(ctx context.Context, f window.FailureFilter) (failures.Groups, error) {
	q := url.Values{"state": {f.State}, "job_kind": f.Kinds, "limit": {limitText(f.Limit)}}
	setTime(q, "since", f.Since)
	setFlag(q, "exact", f.Exact)
	var groups api.FailureGroups
	if err := c.get(ctx, "/failures", q, &groups); err != nil {
		return failures.Groups{}, err
	}
	return failures.Groups{Groups: groups.Groups, Exact: groups.Exact, MayMiss: groups.MayMiss}, cut(f.Limit, groups.More)
}

// AnyDismissed reports whether any run is dismissed.
func (c *Client) AnyDismissed(ctx context.Context) (bool, error) {
	groups, err := c.Failures(ctx, window.FailureFilter{State: "dismissed", Limit: 1})
	return len(groups.Groups) > 0 || !groups.Exact, err
}

// PlanDismissal counts the failed runs that a dismissal would reach.
func (c *Client) PlanDismissal(ctx context.Context, f replay.Filter, exact bool) (window.Plan, error) {
	return c.plan(ctx, "/dismissals/plan", f, exact)
}

// Dismiss takes failed runs off the list of failures, and returns how many, even with
// an error.
func (c *Client) Dismiss(ctx context.Context, f replay.Filter, reason string) (int64, error) {
	return c.change(ctx, "/dismissals", f, reason)
}

// change orders a change, and again for what an order has left, with a new key. It
// returns how many runs were changed, even with an error.
func (c *Client) change(ctx context.Context, path string, f replay.Filter, reason string) (runs int64, err error) {
	for more := true; more; {
		var changed api.Changed
		if err := c.order(ctx, path, api.DismissRequest{Filter: api.RunFilter(f), Reason: reason}, &changed); err != nil {
			return runs, err
		}
		runs, more = runs+changed.Changed, changed.More
	}
	return runs, nil
}

// PlanRestoration counts the dismissed runs that Restore would make failed again.
func (c *Client) PlanRestoration(ctx context.Context, f replay.Filter, exact bool) (window.Plan, error) {
	return c.plan(ctx, "/restorations/plan", f, exact)
}

// Restore makes dismissed runs failed again, and returns how many, even with an error.
func (c *Client) Restore(ctx context.Context, f replay.Filter, reason string) (int64, error) {
	return c.change(ctx, "/restorations", f, reason)
}

// FollowUps lists follow-up jobs that have failed for good, the newest first. With
// [ErrCut] it returns those that the server lists.
func (c *Client) FollowUps(ctx context.Context, kinds []string, limit int) ([]failures.FollowUp, error) {
	var list api.FollowUpList
	if err := c.get(ctx, "/follow-ups", url.Values{"job_kind": kinds, "limit": {limitText(limit)}}, &list); err != nil {
		return nil, err
	}
	return list.FollowUps, cut(limit, list.More)
}

// FollowUpKinds lists the kinds of follow-up jobs that programs have registered.
func (c *Client) FollowUpKinds(ctx context.Context) ([]string, error) {
	var list api.FollowUpList
	err := c.get(ctx, "/follow-ups", url.Values{"limit": {"1"}}, &list)
	return list.Kinds, err
}

// Now is the time of the database's clock; zero if the server is too old to tell.
func (c *Client) Now(ctx context.Context) (time.Time, error) {
	var list api.FollowUpList
	err := c.get(ctx, "/follow-ups", url.Values{"limit": {"1"}}, &list)
	return list.AsOf, err
}

// RetryFollowUps puts failed follow-up jobs back into the queue, and returns how
// many.
func (c *Client) RetryFollowUps(ctx context.Context, f failures.FollowUpFilter, reason string) (int64, error) {
	var changed api.Changed
	err := c.order(ctx, "/follow-ups/retry", api.RetryRequest{Kinds: f.Kinds, Jobs: f.JobIDs, AsOf: f.AsOf, Reason: reason}, &changed)
	return changed.Changed, err
}
