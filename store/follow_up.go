package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// FailedFollowUp is a follow-up job that has failed for good. It has no run, only a
// row of River's, which River removes after seven days.
type FailedFollowUp struct {
	JobID     int64     `json:"job_id"`
	Kind      string    `json:"job_kind"`
	Queue     string    `json:"queue"`
	Attempts  int       `json:"attempts"`
	CreatedAt time.Time `json:"created_at"`
	FailedAt  time.Time `json:"failed_at"`
	Error     string    `json:"error"` // of the last attempt
}

// FailedFollowUps lists follow-up jobs that have failed for good, the newest first:
// of these kinds (none: all), at most limit.
func (s *Store) FailedFollowUps(ctx context.Context, kinds []string, limit int) ([]FailedFollowUp, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT job_id, job_kind, queue, attempts, created_at, failed_at, coalesce(error, '')
		FROM lumin.failed_follow_ups
		WHERE cardinality($1::text[]) = 0 OR job_kind = ANY ($1)
		ORDER BY failed_at DESC, job_id DESC LIMIT $2`, nonNil(kinds), limit)
	if err != nil {
		return nil, fmt.Errorf("list failed follow-up jobs: %w", err)
	}
	failed, err := pgx.CollectRows(rows, pgx.RowToStructByPos[FailedFollowUp])
	if err != nil {
		return nil, fmt.Errorf("list failed follow-up jobs: %w", err)
	}
	return failed, nil
}

// RetryFollowUps puts follow-up jobs that have failed for good back into the queue:
// of these kinds and with these ids (none: all). It returns how many. A unique job
// is left alone while another like it is in the queue.
func (s *Store) RetryFollowUps(ctx context.Context, kinds []string, ids []int64) (n int64, err error) {
	if ids == nil {
		ids = []int64{}
	}
	if err := s.pool.QueryRow(ctx, `SELECT lumin.retry_follow_ups($1, $2)`, nonNil(kinds), ids).Scan(&n); err != nil {
		return 0, fmt.Errorf("retry follow-up jobs: %w", err)
	}
	return n, nil
}

// FollowUpKinds lists the kinds of follow-up jobs that any program has ever
// registered here.
func (s *Store) FollowUpKinds(ctx context.Context) ([]string, error) {
	rows, err := s.pool.Query(ctx, `SELECT kind FROM lumin.other_kinds WHERE purpose = 'follow_up' ORDER BY kind`)
	if err != nil {
		return nil, fmt.Errorf("list follow-up kinds: %w", err)
	}
	kinds, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list follow-up kinds: %w", err)
	}
	return kinds, nil
}

// FollowUpState describes the jobs that have no runs, for doctor.
type FollowUpState struct {
	Failed  []string // "kind: number" of those that have failed for good
	Waiting []string // kinds with waiting jobs, periodic jobs included
}

// FollowUpState reads the state of the jobs that have no runs.
func (s *Store) FollowUpState(ctx context.Context) (state FollowUpState, err error) {
	err = s.pool.QueryRow(ctx, `
		SELECT ARRAY(SELECT job_kind || ': ' || count(*) FROM lumin.failed_follow_ups GROUP BY job_kind ORDER BY 1),
		       ARRAY(SELECT DISTINCT h.job_kind FROM lumin.queue_health h JOIN lumin.other_kinds o ON o.kind = h.job_kind
		             WHERE h.queued + h.waiting > 0 ORDER BY 1)`).Scan(&state.Failed, &state.Waiting)
	if err != nil {
		return state, fmt.Errorf("look at follow-up jobs: %w", err)
	}
	return state, nil
}
