package erasure

import (
	"context"

	"lumin-ingest/internal/query"
)

// Erased returns which of these signature requests were named by an erasure,
// finished or not. Code that stores data of a signature request without a new
// delivery must leave them out.
//
// In a transaction that has already written to lumin.events, the result stays
// true until its end: an erasure that is ordered later waits for that
// transaction, and erases what it has stored. See [CarryOut].
func Erased(ctx context.Context, db query.DB, ids []string) ([]string, error) {
	return query.Column[string](ctx, db, "find erased signature requests", `
		SELECT DISTINCT r.id FROM lumin.erasures e, unnest(e.signature_request_ids) AS r (id) WHERE r.id = ANY ($1)`, query.NotNull(ids))
}
