package worker

import (
	"context"

	"github.com/riverqueue/river"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// laneArgs are the arguments of the job that wakes the next event of a lane. The
// SQL function lumin.wake_lane writes them.
type laneArgs struct {
	LaneOf  lumin.EventKey `json:"lane_of"` // of any run of the lane
	JobKind string         `json:"job_kind"`
}

// Kind implements river.JobArgs.
func (laneArgs) Kind() string { return InternalPrefix + "lane" }

// newLaneWaker returns the worker that wakes the next event of a lane, such as
// after a failure.
func newLaneWaker(s *store.Store) *housekeeper[laneArgs] {
	return &housekeeper[laneArgs]{timeout: internalTimeout, step: func(ctx context.Context, job *river.Job[laneArgs]) (pause, error) {
		run := store.JobArgs{EventKey: job.Args.LaneOf, JobKind: job.Args.JobKind}
		head, err := s.Head(ctx, run)
		if err == nil && head != nil && head.Parked {
			_, err = s.Wake(ctx, head.JobArgs)
		}
		return done, err
	}}
}
