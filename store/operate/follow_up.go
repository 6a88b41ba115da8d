package operate

import (
	"context"

	"lumin-ingest/store/failures"
)

// RetryFollowUps returns failed follow-up jobs to the queue and returns their
// number; see [failures.RetryFollowUps].
func (o *Operator) RetryFollowUps(ctx context.Context, by Actor, f failures.FollowUpFilter, reason string) (jobs int64, err error) {
	err = o.once(ctx, by, Change{ActionRetryFollowUps, f, reason}, func(ctx context.Context) (any, error) {
		jobs, err = failures.RetryFollowUps(ctx, o.pool, f)
		return map[string]int64{"jobs": jobs}, err
	})
	return jobs, err
}
