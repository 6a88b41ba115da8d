package client

import (
	"context"
	"net/url"

	"lumin-ingest/admin/api"
	"lumin-ingest/store/operate"
)

// AuditLog lists changes that people made, the newest first, page by page up to
// f.Limit.
func (c *Client) AuditLog(ctx context.Context, f operate.Filter) (rows []operate.Row, err error) {
	q := url.Values{}
	setText(q, "actor", f.Actor)
	setText(q, "action", f.Action)
	setText(q, "via", f.Via)
	setFlag(q, "failed", f.Failed)
	setTime(q, "since", f.Since)
	setTime(q, "until", f.Until)
	for len(rows) < f.Limit {
		q.Set("limit", limitText(f.Limit-len(rows)))
		var page api.AuditPage
		if err := c.get(ctx, "/audit-log", q, &page); err != nil {
			return rows, err
		}
		rows = append(rows, page.Changes...)
		if page.Next == nil {
			break
		}
		q.Set("cursor", *page.Next)
	}
	return rows, nil
}
