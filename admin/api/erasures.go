package api

import (
	"context"
	"errors"
	"net/http"

	"lumin-ingest/admin/access"
	"lumin-ingest/admin/window"
	"lumin-ingest/store/erasure"
)

const erasuresTag = "Erasures"

// ErasureRequest says whose data is to be erased: signature requests, or all that
// mention an address.
type ErasureRequest struct {
	SignatureRequestIDs []string `json:"signature_request_ids,omitempty" maxItems:"1000"`
	Email               string   `json:"email,omitempty" maxLength:"1000"`
}

// EraseRequest orders the erasure of a plan.
type EraseRequest struct {
	Plan   erasure.Plan `json:"plan"`
	Reason string       `json:"reason" maxLength:"1000"`
}

// ErasureID names an erasure.
type ErasureID struct {
	ID int64 `path:"id" doc:"The erasure's id."`
}

func (a *api) erasures() {
	add(a, operation{
		id: "plan-erasure", method: http.MethodPost, path: "/erasures/plan", tag: erasuresTag, role: access.Erase,
		summary:     "Plan an erasure",
		description: "Finds the data of signature requests, or of all signature requests that mention an address, and changes nothing. The search for an address reads every body, and ends with a timeout after 20 s; in a large database, use the command erase with DATABASE_URL.",
		tooSlow:     "use the command erase with DATABASE_URL: its search has no time limit",
		errors:      []int{http.StatusNotFound},
	}, func(ctx context.Context, in *struct{ Body ErasureRequest }) (erasure.Plan, error) {
		subject := erasure.Subject{SignatureRequestIDs: in.Body.SignatureRequestIDs, Email: in.Body.Email}
		if err := subject.Validate(); err != nil {
			return erasure.Plan{}, invalid{err}
		}
		return a.window.PlanErasure(ctx, subject, func(int64, int64) {})
	})
	order(a, operation{
		id: "erase", method: http.MethodPost, path: "/erasures", tag: erasuresTag, role: access.Erase,
		summary:     "Order an erasure",
		description: "Erases the data of a plan, which cannot be undone. A running worker carries the order out, or continue-erasure. Needs a reason.",
	}, func(ctx context.Context, w *window.Window, key string, in EraseRequest) (Ordered, error) {
		if in.Plan.Subject != "email" && in.Plan.Subject != "signature_request" {
			return Ordered{}, invalid{errors.New("plan is not one that plan-erasure returned")}
		}
		in.Plan.Token = key
		id, err := w.Erase(ctx, in.Plan, in.Reason)
		return Ordered{id}, err
	})
	add(a, operation{
		id: "show-erasure", method: http.MethodGet, path: "/erasures/{id}", tag: erasuresTag, role: access.Read,
		summary: "Show an erasure", description: "Shows an erasure and what it has removed so far.", errors: []int{http.StatusNotFound},
	}, func(ctx context.Context, in *ErasureID) (erasure.Order, error) {
		return a.window.Erasure(ctx, in.ID)
	})
	add(a, operation{
		id: "continue-erasure", method: http.MethodPost, path: "/erasures/{id}/continue", tag: erasuresTag, role: access.Erase,
		summary: "Continue an erasure", description: "Carries out what is possible of an erasure now, without waiting for a worker, and shows it.", errors: []int{http.StatusNotFound},
		tooSlow: "call it again: it goes on where it stopped; or let a worker carry the order out",
	}, func(ctx context.Context, in *ErasureID) (erasure.Order, error) {
		if _, err := a.window.Erasure(ctx, in.ID); err != nil {
			return erasure.Order{}, err
		}
		return a.window.CarryOutErasure(ctx, in.ID)
	})
}
