package window

import (
	"context"
	"time"

	"lumin-ingest/store/catalog"
	"lumin-ingest/store/failures"
	"lumin-ingest/store/replay"
)

// FailureFilter chooses groups of runs. Zero fields choose all.
type FailureFilter struct {
	State string     // failed, retrying or dismissed
	Kinds []string   // job types
	Since *time.Time // the last attempt failed at this time or later
	Limit int        // the most groups
	Exact bool       // count every run, even if that takes long
}

// Failures groups failed, retrying or dismissed runs by job type and error.
func (w *Window) Failures(ctx context.Context, f FailureFilter) (failures.Groups, error) {
	list := map[string]func() failures.List{
		"retrying": failures.Retrying, "dismissed": failures.Dismissed, "failed": failures.Failed,
	}[f.State]()
	if f.Exact {
		return list.Exactly(ctx, w.pool, f.Kinds, f.Since, f.Limit)
	}
	return list.Quickly(ctx, w.pool, f.Kinds, f.Since, f.Limit)
}

// AnyDismissed reports whether any run is dismissed.
func (w *Window) AnyDismissed(ctx context.Context) (bool, error) {
	return failures.AnyDismissed(ctx, w.pool)
}

// PlanDismissal counts the failed runs that a dismissal with this filter would
// take off the list of failures.
func (w *Window) PlanDismissal(ctx context.Context, f replay.Filter, exact bool) (Plan, error) {
	plan, err := w.plans(exact).Plan(ctx, f)
	return planOf(plan, nil), err
}

// Dismiss takes failed runs off the list of failures, and returns how many. An
// error may have left others unchanged.
func (w *Window) Dismiss(ctx context.Context, f replay.Filter, reason string) (runs int64, err error) {
	return w.operator.Dismiss(ctx, w.by, f, reason)
}

// PlanRestoration counts the dismissed runs that Restore would make failed again.
func (w *Window) PlanRestoration(ctx context.Context, f replay.Filter, exact bool) (Plan, error) {
	plan, left, err := w.plans(exact).PlanRestore(ctx, f)
	return planOf(plan, &left), err
}

// Restore makes dismissed runs failed again, and returns how many.
func (w *Window) Restore(ctx context.Context, f replay.Filter, reason string) (runs int64, err error) {
	return w.operator.Restore(ctx, w.by, f, reason)
}

// CancelRuns cancels retrying runs, and returns how many.
func (w *Window) CancelRuns(ctx context.Context, f replay.Filter, reason string) (runs int64, err error) {
	return w.operator.CancelRuns(ctx, w.by, f, reason)
}

// FollowUps lists follow-up jobs that have failed for good, the newest first: of
// these kinds, or of all.
func (w *Window) FollowUps(ctx context.Context, kinds []string, limit int) ([]failures.FollowUp, error) {
	return failures.FollowUps(ctx, w.pool, kinds, limit)
}

// FollowUpKinds lists the kinds of follow-up jobs that programs have registered.
func (w *Window) FollowUpKinds(ctx context.Context) ([]string, error) {
	return catalog.FollowUpKinds(ctx, w.pool)
}

// RetryFollowUps puts failed follow-up jobs back into the queue, and returns how
// many.
func (w *Window) RetryFollowUps(ctx context.Context, f failures.FollowUpFilter, reason string) (int64, error) {
	return w.operator.RetryFollowUps(ctx, w.by, f, reason)
}
