package api

import (
	"time"

	"lumin-ingest/store/replay"
)

const failuresTag, replaysTag = "Failures", "Replays"

// RunFilter chooses runs. It has the fields of [replay.Filter]; each may be left
// out.
type RunFilter struct {
	Status              replay.Status `json:"status,omitempty" enum:",failed,retrying,cancelled,missing,late,succeeded,unrecognized"`
	Kinds               []string      `json:"job_kinds,omitempty" maxItems:"1000"`
	EventTypes          []string      `json:"event_types,omitempty" maxItems:"1000"`
	Sources             []string      `json:"sources,omitempty" maxItems:"1000"`
	SignatureRequestIDs []string      `json:"signature_request_ids,omitempty" maxItems:"1000"`
	EventIDs            []int64       `json:"event_ids,omitempty" maxItems:"1000"`
	ErrorFingerprints   []string      `json:"error_fingerprints,omitempty" maxItems:"1000"`
	ReceivedSince       *time.Time    `json:"received_since,omitempty" nullable:"true"`
	ReceivedUntil       *time.Time    `json:"received_until,omitempty" nullable:"true"`
	EventSince          *time.Time    `json:"event_since,omitempty" nullable:"true"`
	EventUntil          *time.Time    `json:"event_until,omitempty" nullable:"true"`
	AsOf                *time.Time    `json:"as_of,omitempty" nullable:"true"`
}

// PlanRequest asks how many runs a change would reach.
type PlanRequest struct {
	Filter RunFilter `json:"filter"`
	Exact  bool      `json:"exact,omitempty"`
}

// filter returns the filter, or why it is refused.
func (f RunFilter) filter() (replay.Filter, error) {
	filter := replay.Filter(f)
	if err := filter.Validate(); err != nil {
		return filter, invalid{err}
	}
	return filter, nil
}

// failed is like filter. The filter may choose failed runs only.
func (f RunFilter) failed() (replay.Filter, error) {
	filter, err := f.filter()
	if err == nil && filter.Status != "" && filter.Status != replay.Failed {
		err = invalid{errFailedOnly}
	}
	return filter, err
}

// dismissible is like filter. The filter may choose failed runs or late events only.
func (f RunFilter) dismissible() (replay.Filter, error) {
	filter, err := f.filter()
	if err == nil && filter.Status != "" && filter.Status != replay.Failed && filter.Status != replay.Late {
		err = invalid{errDismissibleOnly}
	}
	return filter, err
}

// retrying is like filter. The filter must choose retrying runs.
func (f RunFilter) retrying() (replay.Filter, error) {
	filter, err := f.filter()
	if err == nil && filter.Status != replay.Retrying {
		err = invalid{errRetryingOnly}
	}
	return filter, err
}
