package window

import (
	"context"

	"lumin-ingest/store/erasure"
)

// PlanErasure counts what an erasure would remove now. It calls report as
// [erasure.NewPlanReporting] does.
func (w *Window) PlanErasure(ctx context.Context, subject erasure.Subject, report func(searched, last int64)) (erasure.Plan, error) {
	return erasure.NewPlanReporting(ctx, w.pool, subject, report)
}

// Erase orders the erasure of a plan and returns its id. A running worker carries
// it out, or CarryOutErasure.
func (w *Window) Erase(ctx context.Context, plan erasure.Plan, reason string) (id int64, err error) {
	return w.operator.Erase(ctx, w.by, plan, reason)
}

// CarryOutErasure goes on with an erasure, and returns how far it has come.
func (w *Window) CarryOutErasure(ctx context.Context, id int64) (erasure.Order, error) {
	return erasure.CarryOut(ctx, w.pool, id)
}

// Erasure returns one order. The error is [store.ErrNotFound] if there is none.
func (w *Window) Erasure(ctx context.Context, id int64) (erasure.Order, error) {
	return erasure.Load(ctx, w.pool, id)
}
