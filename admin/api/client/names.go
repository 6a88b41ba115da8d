package client

import (
	"context"
	"net/url"

	"lumin-ingest/admin/api"
	"lumin-ingest/admin/window"
)

// Names lists the names in use.
func (c *Client) Names(ctx context.Context) (n window.Names, err error) {
	return n, c.get(ctx, "/names", nil, &n)
}

// StoredKind reports whether a job type has runs that have not succeeded.
func (c *Client) StoredKind(ctx context.Context, kind string) (bool, error) {
	var answer api.StoredKind
	err := c.get(ctx, "/names/job-type", url.Values{"job_kind": {kind}}, &answer)
	return answer.Stored, err
}

// Fingerprints lists the errors of the runs in a state.
func (c *Client) Fingerprints(ctx context.Context, state string) (names []string, all bool, err error) {
	var answer api.Fingerprints
	err = c.get(ctx, "/names/errors", url.Values{"state": {state}}, &answer)
	return answer.Fingerprints, answer.Complete, err
}
