package store

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

// choicesSQL jumps from one pair of type and source to the next in the index. It
// reads one entry for each pair, whatever the number of events.
const choicesSQL = `
WITH RECURSIVE p AS (
    (SELECT e.event_type, e.source FROM lumin.events e WHERE e.event_type IS NOT NULL ORDER BY e.event_type, e.source LIMIT 1)
    UNION ALL
    SELECT n.event_type, n.source
    FROM p CROSS JOIN LATERAL (
        SELECT e.event_type, e.source FROM lumin.events e
        WHERE (e.event_type, e.source) > (p.event_type, p.source)
        ORDER BY e.event_type, e.source LIMIT 1
    ) n
)
SELECT event_type, source FROM p LIMIT 1000`

// Choices returns the event types and the sources of stored events, each sorted.
// Sources that have only unrecognized events are not included.
func (s *Store) Choices(ctx context.Context) (types, sources []string, err error) {
	pairs, err := query.Structs[struct{ Type, Source string }](ctx, s.pool, "list event types", choicesSQL, pgx.QueryExecModeCacheDescribe)
	for _, p := range pairs {
		types, sources = append(types, p.Type), append(sources, p.Source)
	}
	slices.Sort(types)
	slices.Sort(sources)
	return slices.Compact(types), slices.Compact(sources), err
}

// SubscribedKinds lists the job types that subscribe to an event.
func (s *Store) SubscribedKinds(ctx context.Context, eventID int64) ([]string, error) {
	return query.Column[string](ctx, s.pool, "list job types", `
		SELECT t.kind FROM lumin.job_types t, lumin.events e
		WHERE e.id = $1 AND (t.events = '{}' OR e.event_type = ANY (t.events)) AND (t.sources = '{}' OR e.source = ANY (t.sources))
		ORDER BY t.kind`, eventID)
}
