package retention

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/store/internal/estimate"
)

// EstimatedPlan is a QuickPlan that has no time to count exactly.
func EstimatedPlan(ctx context.Context, pool *pgxpool.Pool, policy Policy, now time.Time) (Planned, error) {
	return plan(ctx, pool, estimate.Limits{Exact: 1, Blocks: 128}, policy, now)
}
