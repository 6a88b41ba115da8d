package replay

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// Open sums up the orders that are not finished.
type Open struct {
	Orders   int64
	Planned  int64   // runs that matched when their orders were started
	Enqueued int64   // runs of these that became pending
	Age      float64 // of the oldest order, in seconds; 0 without an order
}

// openSQL reads the partial index of open orders.
const openSQL = `
SELECT count(*), coalesce(sum(p.planned), 0)::bigint, coalesce(sum(p.enqueued), 0)::bigint,
       greatest(coalesce(extract(epoch FROM now() - min(p.created_at)), 0), 0)::float8
FROM lumin.replays p WHERE p.finished_at IS NULL`

// CountOpen sums up the orders that are not finished.
func CountOpen(ctx context.Context, pool *pgxpool.Pool) (Open, error) {
	return query.Struct[Open](ctx, pool, "count open replays", openSQL)
}
