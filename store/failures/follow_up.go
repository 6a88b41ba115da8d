package failures

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// FollowUp is a follow-up job that has failed for good. It has no run, only a
// row of River's, which River removes after seven days.
type FollowUp struct {
	JobID     int64     `json:"job_id"`
	Kind      string    `json:"job_kind"`
	Queue     string    `json:"queue"`
	Attempts  int       `json:"attempts"`
	CreatedAt time.Time `json:"created_at"`
	FailedAt  time.Time `json:"failed_at"`
	Error     string    `json:"error"` // of the last attempt
}

// FollowUps lists follow-up jobs that have failed for good, the newest first,
// at most limit. Without kinds it lists all kinds.
func FollowUps(ctx context.Context, pool *pgxpool.Pool, kinds []string, limit int) ([]FollowUp, error) {
	return query.Structs[FollowUp](ctx, pool, "list failed follow-up jobs", `
		SELECT job_id, job_kind, queue, attempts, created_at, failed_at, coalesce(error, '')
		FROM lumin.failed_follow_ups
		WHERE cardinality($1::text[]) = 0 OR job_kind = ANY ($1)
		ORDER BY failed_at DESC, job_id DESC LIMIT $2`, query.NotNull(kinds), limit)
}

// FindFollowUp returns a follow-up job that has failed for good, and whether there is
// one with this id.
func FindFollowUp(ctx context.Context, pool *pgxpool.Pool, jobID int64) (f FollowUp, found bool, err error) {
	all, err := query.Structs[FollowUp](ctx, pool, "find a failed follow-up job", `
		SELECT job_id, job_kind, queue, attempts, created_at, failed_at, coalesce(error, '')
		FROM lumin.failed_follow_ups WHERE job_id = $1`, jobID)
	if err != nil || len(all) == 0 {
		return f, false, err
	}
	return all[0], true, nil
}

// RetryFollowUps returns follow-up jobs that have failed for good to the queue,
// and returns their number. Without kinds or ids it retries all. A unique job
// stays failed while an equal job is in the queue.
func RetryFollowUps(ctx context.Context, pool *pgxpool.Pool, kinds []string, ids []int64) (n int64, err error) {
	if err := pool.QueryRow(ctx, `SELECT lumin.retry_follow_ups($1, $2)`, query.NotNull(kinds), query.NotNull(ids)).Scan(&n); err != nil {
		return 0, fmt.Errorf("retry follow-up jobs: %w", err)
	}
	return n, nil
}
