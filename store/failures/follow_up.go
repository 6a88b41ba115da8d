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

// FollowUpFilter chooses follow-up jobs that have failed for good. Zero fields choose
// all.
type FollowUpFilter struct {
	Kinds  []string `json:"job_kinds"`
	JobIDs []int64  `json:"job_ids"`

	// AsOf leaves out jobs that failed later: by the clock of the program that worked
	// them. It is the time of a plan that a person has seen, by the database's clock.
	AsOf *time.Time `json:"as_of"`
}

// RetryFollowUps returns follow-up jobs that have failed for good to the queue,
// and returns their number. A unique job stays failed while an equal job is in the
// queue.
func RetryFollowUps(ctx context.Context, pool *pgxpool.Pool, f FollowUpFilter) (n int64, err error) {
	err = pool.QueryRow(ctx, `SELECT lumin.retry_follow_ups($1, $2, $3)`, query.NotNull(f.Kinds), query.NotNull(f.JobIDs), f.AsOf).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("retry follow-up jobs: %w", err)
	}
	return n, nil
}
