package lanes

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// Held counts the held lanes of one job type.
type Held struct {
	Kind  string
	Lanes int64
	Since *time.Time // when the oldest of them became held; nil if none is held
	Age   float64    // seconds since then, by the database's clock
}

// A lane can have several failed runs.
const heldSQL = `
SELECT t.kind, count(DISTINCT e.signature_request_id), min(r.finished_at), coalesce(extract(epoch FROM now() - min(r.finished_at)), 0)::float8
FROM lumin.job_types t
LEFT JOIN (lumin.runs r JOIN lumin.events e ON e.id = r.event_id) ON r.job_kind = t.kind AND r.state = 'failed'
WHERE t.when_failed = 'hold'
GROUP BY t.kind ORDER BY t.kind`

// CountHeld counts held lanes by job type. A job type whose lanes can be held
// has a count of 0 if none is.
func CountHeld(ctx context.Context, pool *pgxpool.Pool) ([]Held, error) {
	return query.Structs[Held](ctx, pool, "count held lanes", heldSQL, pgx.QueryExecModeCacheDescribe)
}

// Policies returns the policy of each ordered job type for lanes in which a run has
// failed for good: hold, skip or cancel. Other job types are not in the map.
func Policies(ctx context.Context, pool *pgxpool.Pool) (map[string]string, error) {
	policies := map[string]string{}
	var kind, policy string
	err := query.Each(ctx, pool, "list ordered job types", []any{&kind, &policy}, func() error {
		policies[kind] = policy
		return nil
	}, `SELECT kind, when_failed FROM lumin.job_types WHERE when_failed IS NOT NULL`)
	return policies, err
}
