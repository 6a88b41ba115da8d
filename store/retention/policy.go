package retention

import "time"

// Policy is how long data is kept after its event was received. 0 keeps it
// forever. Events that pending or failed runs need are kept longer.
type Policy struct {
	Payloads time.Duration // bodies, also of redeliveries; they never outlast their event
	Events   time.Duration // events with their runs, failures and redeliveries
}

// cutoffs returns the times before which a body and an event count as too old.
// The zero time means never.
func (p Policy) cutoffs(now time.Time) (payloads, events time.Time) {
	if p.Payloads > 0 {
		payloads = now.Add(-p.Payloads)
	}
	if p.Events > 0 {
		events = now.Add(-p.Events)
	}
	return payloads, events
}

// Removed counts what retention has removed, or would remove.
type Removed struct {
	Payloads     int64 `json:"payloads"`
	Events       int64 `json:"events"`
	Runs         int64 `json:"runs"`
	Redeliveries int64 `json:"redeliveries"`
}

// Rows is the number of rows that were deleted or lost their body.
func (r Removed) Rows() int64 { return r.Payloads + r.Events + r.Runs + r.Redeliveries }

func (r *Removed) add(more Removed) {
	r.Payloads += more.Payloads
	r.Events += more.Events
	r.Runs += more.Runs
	r.Redeliveries += more.Redeliveries
}
