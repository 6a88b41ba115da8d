package window

import (
	"context"

	"lumin-ingest/store"
	"lumin-ingest/store/replay"
)

// PlanReplay counts the runs that a replay with this filter would repeat now. Runs
// that it leaves out are counted if there is nothing else to show, or if the
// filter names events or signature requests.
func (w *Window) PlanReplay(ctx context.Context, f replay.Filter, exact bool) (Plan, error) {
	plans := w.plans(exact)
	plan, err := plans.Plan(ctx, f)
	if err != nil {
		return Plan{}, err
	}
	if !plan.Empty() && len(f.EventIDs)+len(f.SignatureRequestIDs) == 0 {
		return planOf(plan, nil), nil
	}
	f.AsOf = &plan.AsOf
	left, err := plans.Excluded(ctx, f)
	return planOf(plan, &left), err
}

// Replay places an order and returns its id. A running worker carries it out.
func (w *Window) Replay(ctx context.Context, n replay.NewOrder) (id int64, err error) {
	return w.operator.Replay(ctx, w.by, n)
}

// Replays returns the newest orders first, at most limit: those older than an order,
// or all if before is 0.
func (w *Window) Replays(ctx context.Context, before int64, limit int) ([]replay.Order, error) {
	return replay.New(w.store).List(ctx, before, limit)
}

// ReplayOrder returns one order, or [store.ErrNotFound].
func (w *Window) ReplayOrder(ctx context.Context, id int64) (replay.Order, error) {
	return replay.New(w.store).Get(ctx, id)
}

// ReplayRuns counts the runs of an order by job type and state.
func (w *Window) ReplayRuns(ctx context.Context, id int64) ([]store.RunCount, error) {
	return replay.New(w.store).Runs(ctx, id)
}

// CancelReplay ends an order. The error is [replay.ErrEnded] for an order that has
// ended, and [store.ErrNotFound] if there is none.
func (w *Window) CancelReplay(ctx context.Context, id int64, reason string) error {
	return w.operator.CancelReplay(ctx, w.by, id, reason)
}
