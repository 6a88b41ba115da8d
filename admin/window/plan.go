package window

import (
	"time"

	"lumin-ingest/store/replay"
)

// Plan is how many runs a change would reach now, by job type.
type Plan struct {
	JobTypes []PlannedRuns `json:"plan"`
	Runs     int64         `json:"total_runs"`
	Exact    bool          `json:"exact"`    // false: the numbers and times are estimates from a sample
	MayMiss  int64         `json:"may_miss"` // a job type of fewer runs may be missing from the plan; 0 if exact
	LeftOut  *LeftOut      `json:"left_out"` // nil: not counted
	AsOf     *time.Time    `json:"as_of"`    // see replay.Plan; nil: of a server before this field
}

// PlannedRuns is the part of a plan for one job type.
type PlannedRuns struct {
	Kind            *string    `json:"job_kind"` // nil: unrecognized events, to be decoded
	Runs            int64      `json:"runs"`
	FirstReceived   *time.Time `json:"first_received_at"`
	LastReceived    *time.Time `json:"last_received_at"`
	EstimateSeconds *float64   `json:"estimate_seconds"` // at the rate of the last jobs; nil: unknown
}

// LeftOut counts runs that match the filter, and that the change does not reach.
type LeftOut struct {
	WithoutBody int64 `json:"without_body"`
	Dismissed   int64 `json:"dismissed"`
	Exact       bool  `json:"exact"` // false: the numbers are estimates
}

// Empty reports whether certainly no run matches.
func (p Plan) Empty() bool { return p.Exact && len(p.JobTypes) == 0 }

func planOf(p replay.Plan, left *replay.Excluded) Plan {
	plan := Plan{Runs: p.Runs(), Exact: p.Exact, MayMiss: p.MayMiss, AsOf: &p.AsOf}
	for _, of := range p.JobTypes {
		planned := PlannedRuns{Runs: of.Runs, FirstReceived: of.FirstEvent, LastReceived: of.LastEvent}
		if of.Kind != "" {
			planned.Kind = &of.Kind
		}
		if of.Duration > 0 {
			seconds := of.Duration.Seconds()
			planned.EstimateSeconds = &seconds
		}
		plan.JobTypes = append(plan.JobTypes, planned)
	}
	if left != nil {
		plan.LeftOut = &LeftOut{WithoutBody: left.Bodiless, Dismissed: left.Dismissed, Exact: left.Exact}
	}
	return plan
}
