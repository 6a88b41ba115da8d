package lanes

import (
	"context"
	"fmt"
	"strconv"
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

	// More is true if only HeldLooks failed runs were looked at. More lanes may be
	// held, and for longer.
	More bool
}

// Number is the number of lanes, as people read it.
func (h Held) Number() string {
	if h.More {
		return fmt.Sprintf("at least %d", h.Lanes)
	}
	return strconv.FormatInt(h.Lanes, 10)
}

// HeldLooks bounds the failed runs of a job type whose lanes [CountHeld] looks up, one
// by one.
const HeldLooks = 10_000

// A lane can have several failed runs. OFFSET 0 makes the planner look up each event by
// its id.
const heldSQL = `
SELECT t.kind, h.lanes, h.since, coalesce(extract(epoch FROM now() - h.since), 0)::float8, h.looked = $1
FROM lumin.job_types t
CROSS JOIN LATERAL (
    SELECT count(DISTINCT e.signature_request_id) AS lanes, min(f.finished_at) AS since, count(*) AS looked
    FROM (SELECT r.event_id, r.finished_at FROM lumin.runs r WHERE r.job_kind = t.kind AND r.state = 'failed' LIMIT $1) f
    CROSS JOIN LATERAL (SELECT v.signature_request_id FROM lumin.events v WHERE v.id = f.event_id OFFSET 0) e
) h
WHERE t.when_failed = 'hold' ORDER BY t.kind`

// CountHeld counts held lanes by job type. A job type whose lanes can be held
// has a count of 0 if none is.
func CountHeld(ctx context.Context, pool *pgxpool.Pool) ([]Held, error) {
	return query.Structs[Held](ctx, pool, "count held lanes", heldSQL, pgx.QueryExecModeCacheDescribe, HeldLooks)
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
