package api

import (
	"context"
	"net/http"
	"time"

	"lumin-ingest/admin/access"
	"lumin-ingest/admin/window"
	"lumin-ingest/store/failures"
)

// FailureGroups are groups of runs with the same job type and error.
type FailureGroups struct {
	Groups  []failures.Group `json:"groups"`
	More    bool             `json:"more"`
	Exact   bool             `json:"exact"`
	MayMiss int64            `json:"may_miss"`
}

// DismissRequest dismisses or restores runs.
type DismissRequest struct {
	Filter RunFilter `json:"filter"`
	Reason string    `json:"reason,omitempty" maxLength:"1000"`
}

// Changed says how many runs or jobs a change has reached, and whether it has left
// some to another order.
type Changed struct {
	Changed int64 `json:"changed"`
	More    bool  `json:"more"`
}

// FollowUpList is a list of failed follow-up jobs.
type FollowUpList struct {
	FollowUps []failures.FollowUp `json:"follow_ups"`
	More      bool                `json:"more"`
	Kinds     []string            `json:"registered_kinds"`
	AsOf      time.Time           `json:"as_of"`
}

// RetryRequest chooses follow-up jobs to put back into the queue.
type RetryRequest struct {
	Kinds  []string   `json:"job_kinds,omitempty" maxItems:"1000"`
	Jobs   []int64    `json:"job_ids,omitempty" maxItems:"1000"`
	AsOf   *time.Time `json:"as_of,omitempty" nullable:"true"`
	Reason string     `json:"reason,omitempty" maxLength:"1000"`
}

func (a *api) failures() {
	add(a, operation{
		id: "list-failures", method: http.MethodGet, path: "/failures", tag: failuresTag, role: access.Read,
		summary:     "List failures",
		description: "Groups failed, retrying or dismissed runs by job type and error, the biggest group first.",
	}, a.listFailures)
	a.dismissals()
	a.followUps()
}

func (a *api) dismissals() {
	add(a, operation{
		id: "plan-dismissal", method: http.MethodPost, path: "/dismissals/plan", tag: failuresTag, role: access.Read,
		summary: "Plan a dismissal", description: "Counts the failed runs, or with the status late the runs that late events lack, that a dismissal with this filter would reach now.",
	}, func(ctx context.Context, in *struct{ Body PlanRequest }) (plan window.Plan, err error) {
		filter, err := in.Body.Filter.dismissible()
		if err != nil {
			return plan, err
		}
		return a.window.PlanDismissal(ctx, filter, in.Body.Exact)
	})
	order(a, operation{
		id: "dismiss", method: http.MethodPost, path: "/dismissals", tag: failuresTag, role: access.Operate,
		summary:     "Dismiss failed runs or late events",
		description: "Takes failed runs off the list of failures. Replays leave them out. With the status late, late events get dismissed runs, so they no longer wait for a decision. Needs a reason, which is stored with each run.",
	}, func(ctx context.Context, w *window.Window, _ string, in DismissRequest) (Changed, error) {
		filter, err := in.Filter.dismissible()
		if err != nil {
			return Changed{}, err
		}
		n, err := w.Dismiss(ctx, filter, in.Reason)
		return a.changedRuns("dismiss", n, err)
	})
	add(a, operation{
		id: "plan-restoration", method: http.MethodPost, path: "/restorations/plan", tag: failuresTag, role: access.Read,
		summary: "Plan a restoration", description: "Counts the dismissed runs that a restoration with this filter would make failed again.",
	}, func(ctx context.Context, in *struct{ Body PlanRequest }) (plan window.Plan, err error) {
		filter, err := in.Body.Filter.failed()
		if err != nil {
			return plan, err
		}
		return a.window.PlanRestoration(ctx, filter, in.Body.Exact)
	})
	order(a, operation{
		id: "restore", method: http.MethodPost, path: "/restorations", tag: failuresTag, role: access.Operate,
		summary: "Restore dismissed runs", description: "Makes dismissed runs failed again, except runs whose body has been removed since.",
	}, func(ctx context.Context, w *window.Window, _ string, in DismissRequest) (Changed, error) {
		filter, err := in.Filter.failed()
		if err != nil {
			return Changed{}, err
		}
		n, err := w.Restore(ctx, filter, in.Reason)
		return a.changedRuns("restore", n, err)
	})
	order(a, operation{
		id: "cancel-runs", method: http.MethodPost, path: "/runs/cancel", tag: failuresTag, role: access.Operate,
		summary: "Cancel retrying runs", description: "Cancels runs that wait for another attempt. The filter must have the status retrying.",
	}, func(ctx context.Context, w *window.Window, _ string, in DismissRequest) (Changed, error) {
		filter, err := in.Filter.retrying()
		if err != nil {
			return Changed{}, err
		}
		n, err := w.CancelRuns(ctx, filter, in.Reason)
		return a.changedRuns("cancel-runs", n, err)
	})
}

func (a *api) listFailures(ctx context.Context, in *struct {
	State string    `query:"state" enum:"failed,retrying,dismissed" default:"failed" doc:"Which runs."`
	Kinds []string  `query:"job_kind,explode" maxItems:"100" doc:"Only of these job types. May be repeated."`
	Since time.Time `query:"since" doc:"Only of runs whose last attempt failed at this time or later."`
	Limit int       `query:"limit" default:"20" minimum:"1" maximum:"1000" doc:"The most groups to list."`
	Exact bool      `query:"exact" doc:"Count every run, even if that takes long. Otherwise the numbers of a large database are estimates."`
}) (g FailureGroups, err error) {
	g.Groups, g.More, err = cut(in.Limit, func(limit int) ([]failures.Group, error) {
		all, err := a.window.Failures(ctx, window.FailureFilter{
			State: in.State, Kinds: in.Kinds, Since: timeOf(in.Since), Limit: limit, Exact: in.Exact,
		})
		g.Exact, g.MayMiss = all.Exact, all.MayMiss
		return all.Groups, err
	})
	return g, err
}

func (a *api) followUps() {
	add(a, operation{
		id: "list-follow-ups", method: http.MethodGet, path: "/follow-ups", tag: failuresTag, role: access.Read,
		summary: "List failed follow-up jobs", description: "Lists follow-up jobs that have failed for good, the newest first, and the kinds that programs have registered.",
	}, func(ctx context.Context, in *struct {
		Kinds []string `query:"job_kind,explode" maxItems:"100" doc:"Only of these kinds. May be repeated."`
		Limit int      `query:"limit" default:"20" minimum:"1" maximum:"1000" doc:"The most jobs to list."`
	}) (l FollowUpList, err error) {
		if l.AsOf, err = a.window.Now(ctx); err != nil {
			return l, err
		}
		l.FollowUps, l.More, err = cut(in.Limit, func(limit int) ([]failures.FollowUp, error) {
			return a.window.FollowUps(ctx, in.Kinds, limit)
		})
		if err != nil {
			return l, err
		}
		l.Kinds, err = a.window.FollowUpKinds(ctx)
		return l, err
	})
	order(a, operation{
		id: "retry-follow-ups", method: http.MethodPost, path: "/follow-ups/retry", tag: failuresTag, role: access.Operate,
		summary: "Retry follow-up jobs", description: "Puts failed follow-up jobs back into the queue: of these kinds and with these ids, or all of them.",
	}, func(ctx context.Context, w *window.Window, _ string, in RetryRequest) (Changed, error) {
		n, err := w.RetryFollowUps(ctx, failures.FollowUpFilter{Kinds: in.Kinds, JobIDs: in.Jobs, AsOf: in.AsOf}, in.Reason)
		return Changed{Changed: n}, err
	})
}
