package worker

import (
	"fmt"
)

// Ordered is a transactional job type that works the events of one signature
// request one at a time, in the order of their event time. Events with the same
// time are worked in the order of their event keys. Events of other signature
// requests may be worked at the same time. The guarantee is that of
// [Transactional].
//
// The runs of one ordered job type for one signature request are a lane. An
// event waits until every earlier event of its lane that has arrived is
// finished, including retries. An event is finished when its run has succeeded,
// was cancelled or was dismissed. A failed run is finished too, unless the policy
// is [HoldLane]. While an event waits, its run is parked and has no job. An event
// that arrives after later ones were worked is worked at once.
//
// An event is worked in its own job, or in that of an earlier event right after
// it. If it fails there, it gets a job of its own, and the failed attempt does not
// count. RecordOutput and MetadataSet of River fail in WorkTx, because an event
// may have no job of its own.
//
// A batch job type cannot be ordered, because its batches mix signature requests.
// Neither can a plain one: two programs could call another system at the same
// time. Instead, let an ordered job type insert a follow-up job. It may also call
// the other system in WorkTx, which happens at least once for each event.
type Ordered interface {
	Transactional

	// WhenFailed returns the policy for later events of a signature request
	// after one has failed for good.
	WhenFailed() LanePolicy
}

// LanePolicy says what happens to the later events of a lane after one has failed
// for good. An event that was cancelled never stops others.
type LanePolicy int

const (
	// HoldLane makes later events wait until a replay of the failed one succeeds,
	// or until its run is dismissed, for example by the command lanes skip.
	HoldLane LanePolicy = iota

	// SkipFailed goes on with the next event.
	SkipFailed

	// CancelRest cancels later events. That includes each event that arrives
	// before the failed one is replayed or dismissed. Replay the failed run first,
	// then the cancelled ones: they are worked in order.
	CancelRest
)

// String returns the policy as in lumin.job_types.
func (p LanePolicy) String() string {
	switch p {
	case HoldLane:
		return "hold"
	case SkipFailed:
		return "skip"
	case CancelRest:
		return "cancel"
	}
	return fmt.Sprintf("LanePolicy(%d)", int(p))
}

// WhenFailed returns HoldLane: no event takes effect before an earlier one of
// its signature request. Only ordered job types use it.
func (Defaults) WhenFailed() LanePolicy { return HoldLane }

// AddOrdered registers a job type that works the events of a signature request
// in order; see [Registry.Add].
func (r *Registry) AddOrdered(t Ordered) {
	if isNil(t) {
		r.add(registered{JobType: t})
		return
	}
	r.add(registered{JobType: t, transactional: t, ordered: true, whenFailed: t.WhenFailed()})
}

// policyProblem returns what is invalid about the policy, or "".
func (t registered) policyProblem() string {
	if t.whenFailed < HoldLane || t.whenFailed > CancelRest {
		return fmt.Sprintf("WhenFailed is %s: give HoldLane, SkipFailed or CancelRest", t.whenFailed)
	}
	return ""
}
