package worker

import (
	"fmt"
)

// Ordered is a transactional job type that works the events of one signature
// request one at a time, in the order of their event time (if that is equal, of
// their event key). Events of other signature requests are not affected. The
// guarantee is that of [Transactional].
//
// An event waits until every earlier event of its signature request that has
// arrived is finished: it has succeeded, was cancelled or dismissed, or has
// failed and the policy lets others pass. Retries of the earlier event are part
// of this. While it waits, its run is parked and has no job. An event that
// arrives after later ones were worked is worked at once.
//
// An event is worked in its own job, or in that of an earlier event right after
// it. If it fails there, it gets a job of its own, and this attempt does not
// count. RecordOutput and MetadataSet of River fail in WorkTx, because an event
// may have no job of its own.
//
// A batch job type cannot be ordered, because its batches have events of any
// signature request. Neither can a plain one: two programs could call another
// system at the same time. Instead, let an ordered job type insert a follow-up
// job, or call the other system in WorkTx, at least once for each event.
type Ordered interface {
	Transactional

	// WhenFailed returns what becomes of the later events of a signature
	// request when one has failed for good.
	WhenFailed() LanePolicy
}

// LanePolicy says what becomes of the later events of a signature request when
// one has failed for good. An event that was cancelled never stops others.
type LanePolicy int

const (
	// HoldLane lets later events wait until the failed one is replayed,
	// dismissed or skipped.
	HoldLane LanePolicy = iota

	// SkipFailed goes on with the next event.
	SkipFailed

	// CancelRest cancels later events, also those that arrive as long as the
	// failed one is neither replayed nor dismissed. A replay of the failed and
	// the cancelled runs works all of them in order.
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
