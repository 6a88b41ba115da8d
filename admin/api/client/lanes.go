package client

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"lumin-ingest/admin/api"
	"lumin-ingest/store/lanes"
	"lumin-ingest/store/operate"
)

// Lanes lists lanes in which runs wait or which are held. With [ErrCut] it returns
// those that the server lists.
func (c *Client) Lanes(ctx context.Context, f lanes.Filter) ([]lanes.Lane, error) {
	q := url.Values{"job_kind": f.Kinds, "limit": {limitText(f.Limit)}}
	setText(q, "signature_request_id", f.SignatureRequestID)
	setFlag(q, "held", f.Held)
	var list api.LaneList
	if err := c.get(ctx, "/lanes", q, &list); err != nil {
		return nil, err
	}
	return list.Lanes, cut(f.Limit, list.More)
}

// Lane returns one lane.
func (c *Client) Lane(ctx context.Context, kind, signatureRequestID string) (lane lanes.Lane, err error) {
	return lane, c.get(ctx, "/lanes/one", url.Values{"job_kind": {kind}, "signature_request_id": {signatureRequestID}}, &lane)
}

// LanePolicies returns what each ordered job type does after a failure.
func (c *Client) LanePolicies(ctx context.Context) (map[string]string, error) {
	var list api.LanePolicies
	err := c.get(ctx, "/lanes/policies", nil, &list)
	return list.Policies, err
}

// SkipLane dismisses the failed run that holds a lane. If the run no longer holds it
// after an attempt whose answer was lost, the error wraps [operate.ErrInDoubt].
func (c *Client) SkipLane(ctx context.Context, held lanes.Lane, reason string) (bool, error) {
	if !held.Held() {
		return false, nil
	}
	var skipped api.Skipped
	unsure, err := c.place(ctx, "/lanes/skip", api.SkipRequest{
		Kind: held.Kind, SignatureRequestID: held.SignatureRequestID, HeldBy: *held.HeldBy, Reason: reason,
	}, &skipped)
	if unsure && (errors.Is(err, lanes.ErrNoLane) || err == nil && !skipped.Skipped) {
		return false, fmt.Errorf("%w: the run holds the lane no longer, and an answer was lost", operate.ErrInDoubt)
	}
	return skipped.Skipped, err
}
