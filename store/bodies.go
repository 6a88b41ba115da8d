package store

import (
	"context"
	"fmt"

	"lumin-ingest/internal/query"
)

// OtherBody is one distinct repeated body of an event that is kept.
type OtherBody struct {
	Redelivery
	SHA256   string // in hex; empty for the bodies that are counted together
	Payload  []byte // nil if it is not kept, or too long
	TooLong  bool   // longer than the caller asked for
	Decision *string
}

// OtherBodies returns the redeliveries of an event with their bodies, the first
// delivered first. A body that does not differ is not kept, and one of more bytes than
// longest is left out.
func (s *Store) OtherBodies(ctx context.Context, eventID, longest int64) ([]OtherBody, error) {
	return query.Structs[OtherBody](ctx, s.pool, fmt.Sprintf("load redeliveries of event %d", eventID), `
		SELECT d.differs, d.count, d.first_at, d.last_at, pg_catalog.encode(d.payload_sha256, 'hex'),
		       CASE WHEN octet_length(d.payload) <= $2 THEN d.payload END, coalesce(octet_length(d.payload) > $2, false), d.decision
		FROM lumin.redeliveries d WHERE d.event_id = $1 ORDER BY d.first_at, d.payload_sha256`, eventID, longest)
}
