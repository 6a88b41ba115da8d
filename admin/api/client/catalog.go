package client

import (
	"context"

	"lumin-ingest/admin/api"
	"lumin-ingest/admin/window"
)

// Keys lists the keys that the stored events were signed with.
func (c *Client) Keys(ctx context.Context) ([]window.KeyUse, error) {
	var list api.KeyList
	err := c.get(ctx, "/keys", nil, &list)
	return list.Keys, err
}
