package client

import (
	"context"
	"net/url"
	"strconv"

	"lumin-ingest/admin/api"
	"lumin-ingest/admin/window"
	"lumin-ingest/store/conflict"
)

// Conflicts lists conflicts, the last delivered first, page by page up to f.Limit.
func (c *Client) Conflicts(ctx context.Context, f conflict.Filter) (rows []conflict.Row, err error) {
	q := url.Values{}
	setID(q, "event_id", f.EventID)
	setText(q, "source", f.Source)
	setText(q, "signature_request_id", f.SignatureRequestID)
	setFlag(q, "another_actor", f.AnotherActor)
	setFlag(q, "undecided", f.Undecided)
	setTime(q, "since", f.Since)
	for len(rows) < f.Limit {
		q.Set("limit", limitText(f.Limit-len(rows)))
		var page api.ConflictList
		if err := c.get(ctx, "/conflicts", q, &page); err != nil {
			return rows, err
		}
		rows = append(rows, page.Conflicts...)
		if page.Next == nil {
			break
		}
		q.Set("cursor", *page.Next)
	}
	return rows, nil
}

// Signers reads the signers from the bodies of a conflict.
func (c *Client) Signers(ctx context.Context, row conflict.Row, reveal bool) (s window.Signers, err error) {
	if reveal {
		return s, c.post(ctx, "/conflicts/signers/reveal", api.RevealRequest{ConflictID: idOf(row)}, &s)
	}
	q := url.Values{"event_id": {strconv.FormatInt(row.EventID, 10)}}
	setText(q, "body", row.Body)
	return s, c.get(ctx, "/conflicts/signers", q, &s)
}

func idOf(row conflict.Row) api.ConflictID {
	return api.ConflictID{EventID: row.EventID, Hash: row.Body}
}

// Promote makes the other body of a conflict an event of its own, and returns its
// id.
func (c *Client) Promote(ctx context.Context, row conflict.Row, reason string) (int64, error) {
	var decided api.Decided
	err := c.order(ctx, "/conflicts/decide", api.DecisionRequest{ConflictID: idOf(row), Decision: "promote", Reason: reason}, &decided)
	if err != nil || decided.EventID == nil {
		return 0, err
	}
	return *decided.EventID, nil
}

// DismissConflict records that a conflict needs no action.
func (c *Client) DismissConflict(ctx context.Context, row conflict.Row, reason string) error {
	return c.order(ctx, "/conflicts/decide", api.DecisionRequest{ConflictID: idOf(row), Decision: "dismiss", Reason: reason}, &api.Decided{})
}
