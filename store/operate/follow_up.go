package operate

import (
	"context"

	"lumin-ingest/store/failures"
)

// RetryFollowUps returns failed follow-up jobs to the queue and returns their
// number; see [failures.RetryFollowUps].
func (o *Operator) RetryFollowUps(ctx context.Context, by Actor, kinds []string, jobIDs []int64, reason string) (jobs int64, err error) {
	subject := struct {
		Kinds []string `json:"job_kinds"`
		IDs   []int64  `json:"job_ids"`
	}{kinds, jobIDs}
	err = o.Do(ctx, by, Change{ActionRetryFollowUps, subject, reason}, func(ctx context.Context) (any, error) {
		jobs, err = failures.RetryFollowUps(ctx, o.pool, kinds, jobIDs)
		return map[string]int64{"jobs": jobs}, err
	})
	return jobs, err
}
