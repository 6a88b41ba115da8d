package store

import (
	"context"

	"lumin-ingest/internal/query"
)

// RecoveredCount is the number of stored recovered events of one type.
type RecoveredCount struct {
	EventType string
	Events    int64
}

// recoveredCountSQL reads events_recovered_idx, which has recovered events only.
const recoveredCountSQL = `
SELECT event_type, count(*) FROM lumin.events WHERE source = 'recovered' AND event_type IS NOT NULL GROUP BY event_type`

// RecoveredCounts counts the stored recovered events by type.
func (s *Store) RecoveredCounts(ctx context.Context) ([]RecoveredCount, error) {
	return query.Structs[RecoveredCount](ctx, s.pool, "count recovered events", recoveredCountSQL)
}
