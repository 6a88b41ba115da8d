package doctor

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
)

// FollowUps describes the jobs that have no runs.
type FollowUps struct {
	Failed  []string // "kind: number" of those that have failed for good
	Waiting []string // kinds with waiting jobs, periodic jobs included
}

// ExamineFollowUps reads the state of the jobs that have no runs.
func ExamineFollowUps(ctx context.Context, pool *pgxpool.Pool) (state FollowUps, err error) {
	err = pool.QueryRow(ctx, `
		SELECT ARRAY(SELECT job_kind || ': ' || count(*) FROM lumin.failed_follow_ups GROUP BY job_kind ORDER BY 1),
		       ARRAY(SELECT DISTINCT h.job_kind FROM lumin.queue_health h JOIN lumin.other_kinds o ON o.kind = h.job_kind
		             WHERE h.queued + h.waiting > 0 ORDER BY 1)`).Scan(&state.Failed, &state.Waiting)
	if err != nil {
		return state, fmt.Errorf("examine follow-up jobs: %w", err)
	}
	return state, nil
}
