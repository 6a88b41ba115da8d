package window

import (
	"context"

	"lumin-ingest/store/lanes"
)

// Lanes lists lanes in which runs wait or which are held; see [lanes.List].
func (w *Window) Lanes(ctx context.Context, f lanes.Filter) ([]lanes.Lane, error) {
	return lanes.List(ctx, w.pool, f)
}

// Lane returns one lane. The error is [lanes.ErrNoLane] if no run of it is
// unfinished.
func (w *Window) Lane(ctx context.Context, kind, signatureRequestID string) (lanes.Lane, error) {
	return lanes.Find(ctx, w.pool, kind, signatureRequestID)
}

// LanePolicies returns what each ordered job type does after a failure: hold, skip
// or cancel.
func (w *Window) LanePolicies(ctx context.Context) (map[string]string, error) {
	return lanes.Policies(ctx, w.pool)
}

// SkipLane dismisses the failed run that holds a lane. It returns false if the run
// has changed since the lane was read.
func (w *Window) SkipLane(ctx context.Context, held lanes.Lane, reason string) (bool, error) {
	return w.operator.SkipLane(ctx, w.by, held, reason)
}
