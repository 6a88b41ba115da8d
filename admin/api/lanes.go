package api

import (
	"context"
	"net/http"

	"lumin-ingest/admin/access"
	"lumin-ingest/admin/window"
	"lumin-ingest/store/lanes"
)

const lanesTag = "Lanes"

// LaneList is a list of lanes.
type LaneList struct {
	Lanes []lanes.Lane `json:"lanes"`
	More  bool         `json:"more"`
}

// LanePolicies are what each ordered job type does after a failure.
type LanePolicies struct {
	Policies map[string]string `json:"policies"`
}

// SkipRequest names the failed run to skip: the head of a lane, as list-lanes and
// show-lane return it.
type SkipRequest struct {
	Kind               string `json:"job_kind" maxLength:"200"`
	SignatureRequestID string `json:"signature_request_id" maxLength:"1000"`
	HeldBy             int64  `json:"held_by"`
	Reason             string `json:"reason" maxLength:"1000"`
}

// Skipped says whether the failed run was skipped.
type Skipped struct {
	Skipped bool `json:"skipped"`
}

func (a *api) lanes() {
	add(a, operation{
		id: "list-lanes", method: http.MethodGet, path: "/lanes", tag: lanesTag, role: access.Read,
		summary:     "List lanes",
		description: "Lists lanes in which runs wait or that a failed run holds, the longest wait first. A lane is the runs of one ordered job type for one signature request.",
	}, func(ctx context.Context, in *struct {
		Kinds   []string `query:"job_kind,explode" maxItems:"100" doc:"Only of these job types. May be repeated."`
		Request string   `query:"signature_request_id" maxLength:"1000" doc:"Only of this signature request."`
		Held    bool     `query:"held" doc:"Only lanes that a failed run holds."`
		Limit   int      `query:"limit" default:"50" minimum:"1" maximum:"1000" doc:"The most lanes to list."`
	}) (l LaneList, err error) {
		l.Lanes, l.More, err = cut(in.Limit, func(limit int) ([]lanes.Lane, error) {
			return a.window.Lanes(ctx, lanes.Filter{Kinds: in.Kinds, SignatureRequestID: in.Request, Held: in.Held, Limit: limit})
		})
		return l, err
	})
	add(a, operation{
		id: "show-lane", method: http.MethodGet, path: "/lanes/one", tag: lanesTag, role: access.Read,
		summary:     "Show a lane",
		description: "Shows the lane of one job type and signature request, also if only one run of it is unfinished.",
		errors:      []int{http.StatusNotFound},
	}, func(ctx context.Context, in *struct {
		Kind    string `query:"job_kind" required:"true" maxLength:"200" doc:"The job type."`
		Request string `query:"signature_request_id" required:"true" maxLength:"1000" doc:"The signature request."`
	}) (lanes.Lane, error) {
		return a.window.Lane(ctx, in.Kind, in.Request)
	})
	add(a, operation{
		id: "list-lane-policies", method: http.MethodGet, path: "/lanes/policies", tag: lanesTag, role: access.Read,
		summary: "List policies of ordered job types", description: "Lists what each ordered job type does after a failure: hold, skip or cancel.",
	}, func(ctx context.Context, _ *struct{}) (LanePolicies, error) {
		policies, err := a.window.LanePolicies(ctx)
		return LanePolicies{policies}, err
	})
	order(a, operation{
		id: "skip-lane", method: http.MethodPost, path: "/lanes/skip", tag: lanesTag, role: access.Operate,
		summary:     "Skip the failed run that holds a lane",
		description: "Dismisses the failed run, so that the next event of the signature request is worked. show-lane is the plan: held_by is the event to skip. Nothing happens if another run holds the lane by now.",
		errors:      []int{http.StatusNotFound},
	}, func(ctx context.Context, w *window.Window, _ string, in SkipRequest) (Skipped, error) {
		lane, err := w.Lane(ctx, in.Kind, in.SignatureRequestID)
		if err != nil || !lane.Held() || *lane.HeldBy != in.HeldBy {
			return Skipped{}, err
		}
		skipped, err := w.SkipLane(ctx, lane, in.Reason)
		return Skipped{skipped}, err
	})
}
