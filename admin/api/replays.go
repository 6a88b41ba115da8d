package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"

	"lumin-ingest/admin/access"
	"lumin-ingest/admin/window"
	"lumin-ingest/store"
	"lumin-ingest/store/replay"
)

var (
	errFailedOnly = errors.New("only dismissed runs can be restored: leave status out, or give failed")

	errDismissibleOnly = errors.New("only failed runs and late events can be dismissed: leave status out, or give failed or late")
	errRetryingOnly    = errors.New("only retrying runs can be cancelled: give the status retrying")
)

// ReplayRequest orders a replay.
type ReplayRequest struct {
	Filter RunFilter `json:"filter"`
	Rate   int       `json:"rate,omitempty" minimum:"0" maximum:"2147483647"`
	Reason string    `json:"reason,omitempty" maxLength:"1000"`
}

// Ordered is the id of what was ordered.
type Ordered struct {
	ID int64 `json:"id"`
}

// ReplayList is a list of replays.
type ReplayList struct {
	Replays []replay.Order `json:"replays"`
	Next    *string        `json:"next"`
}

// ReplayDetails is a replay with the states of its runs.
type ReplayDetails struct {
	replay.Order
	RunCounts     []store.RunCount `json:"run_counts"`
	ReplayedLater int64            `json:"replayed_later"`
}

// ReasonRequest gives the reason of a change.
type ReasonRequest struct {
	Reason string `json:"reason,omitempty" maxLength:"1000"`
}

// Done says that a change was made.
type Done struct {
	Done bool `json:"done"`
}

// ReplayID names a replay.
type ReplayID struct {
	ID int64 `path:"id" doc:"The replay's id."`
}

func (a *api) replays() {
	add(a, operation{
		id: "plan-replay", method: http.MethodPost, path: "/replays/plan", tag: replaysTag, role: access.Read,
		summary:     "Plan a replay",
		description: "Counts the runs that a replay with this filter would repeat now, and changes nothing.",
	}, func(ctx context.Context, in *struct{ Body PlanRequest }) (plan window.Plan, err error) {
		filter, err := in.Body.Filter.filter()
		if err != nil {
			return plan, err
		}
		return a.window.PlanReplay(ctx, filter, in.Body.Exact)
	})
	order(a, operation{
		id: "order-replay", method: http.MethodPost, path: "/replays", tag: replaysTag, role: access.Operate,
		summary:     "Order a replay",
		description: "Repeats the runs that the filter chooses. A running worker carries the order out; show-replay shows its progress.",
	}, func(ctx context.Context, w *window.Window, key string, in ReplayRequest) (Ordered, error) {
		filter, err := in.Filter.filter()
		if err != nil {
			return Ordered{}, err
		}
		id, err := w.Replay(ctx, replay.NewOrder{Filter: filter, Rate: in.Rate, Reason: in.Reason, Token: key})
		return Ordered{id}, err
	})
	add(a, operation{
		id: "list-replays", method: http.MethodGet, path: "/replays", tag: replaysTag, role: access.Read,
		summary: "List replays", description: "Lists replays, the newest first.",
	}, a.listReplays)
	add(a, operation{
		id: "show-replay", method: http.MethodGet, path: "/replays/{id}", tag: replaysTag, role: access.Read,
		summary: "Show a replay", description: "Shows a replay and the states of its runs.", errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *ReplayID) (d ReplayDetails, err error) {
		if d.Order, err = a.window.ReplayOrder(ctx, in.ID); err != nil {
			return d, err
		}
		d.RunCounts, err = a.window.ReplayRuns(ctx, in.ID)
		d.ReplayedLater = d.Order.ReplayedLater(d.RunCounts)
		return d, err
	})
	changeOrder(a, operation{
		id: "cancel-replay", method: http.MethodPost, path: "/replays/{id}/cancel", tag: replaysTag, role: access.Operate,
		summary:     "Cancel a replay",
		description: "Ends a replay. A running worker restores every run whose job has not started.",
	}, func(ctx context.Context, w *window.Window, id int64, in ReasonRequest) (Done, error) {
		return Done{true}, w.CancelReplay(ctx, id, in.Reason)
	})
}

func (a *api) listReplays(ctx context.Context, in *struct {
	Before int64  `query:"before" minimum:"0" doc:"Only replays that are older than the one with this id."`
	Limit  int    `query:"limit" default:"20" minimum:"1" maximum:"1000" doc:"The most replays of a page."`
	Cursor string `query:"cursor" maxLength:"4000" doc:"The value next of the previous page. Without it, the list begins."`
}) (l ReplayList, err error) {
	list := listOf("list-replays", in.Before)
	from, err := parseCursor(list, in.Cursor)
	if err != nil {
		return l, err
	}
	var more bool
	l.Replays, more, err = cut(in.Limit, func(limit int) ([]replay.Order, error) {
		return a.window.Replays(ctx, cmp.Or(from.ID, in.Before), limit)
	})
	if more {
		next := cursor{List: list, ID: l.Replays[len(l.Replays)-1].ID}.String()
		l.Next = &next
	}
	return l, err
}
