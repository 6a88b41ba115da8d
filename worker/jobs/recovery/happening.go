package recovery

import (
	"slices"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store/signaturerequest"
)

// Wait is how long after an event Lumin may still deliver it. The last attempt
// comes after [lumin.RetryWindow]. Each of the seven attempts may take 30
// seconds more, and downloadable happens a little after the status changed.
const Wait = 31 * time.Hour

// certain returns the event types that a signature request with this status must
// have had, in their order. downloadable needs a file as well.
func certain(s lumin.Status) []lumin.EventType {
	switch s {
	case lumin.StatusApproved:
		return []lumin.EventType{lumin.SignatureRequestApproved, lumin.SignatureRequestDownloadable}
	case lumin.StatusRejected:
		return []lumin.EventType{lumin.SignatureRequestDeclined}
	case lumin.StatusCancelled:
		return []lumin.EventType{lumin.SignatureRequestCanceled}
	case lumin.StatusFailed:
		return []lumin.EventType{lumin.SignatureRequestInvalid}
	default:
		return nil
	}
}

// ends is certain as a table for SQL.
func ends() (list []signaturerequest.End) {
	for _, s := range []lumin.Status{lumin.StatusApproved, lumin.StatusRejected, lumin.StatusCancelled, lumin.StatusFailed} {
		for _, t := range certain(s) {
			list = append(list, signaturerequest.End{Status: string(s), EventType: string(t)})
		}
	}
	return list
}

// verdict says what to do about the happenings of one signature request.
type verdict int

const (
	record   verdict = iota
	tooEarly         // Lumin may still deliver them
	noTime           // the answer does not say when the status changed
	tooOld           // retention may have removed their events
	before           // they happened before Since
)

// limits are what decides about a happening, besides what is stored.
type limits struct {
	now    bool
	retain time.Duration // 0: forever
	since  time.Time     // zero: no limit
}

// retainMargin is how long before retention removes an event it counts as too old:
// the clocks of Lumin and of the database may differ, and Lumin may change the time of
// a finished signature request.
const retainMargin = 24 * time.Hour

// judge decides about happenings at a time, by an answer of Lumin at another. at
// is nil if the answer does not say when they happened; then they count as of the
// answer.
func (l limits) judge(at *time.Time, asOf time.Time) (when time.Time, v verdict) {
	if at == nil || (lumin.Envelope{EventTime: *at}).CheckTime() != nil {
		if !l.now {
			return asOf, noTime
		}
		return asOf, record
	}
	switch {
	case l.retain > 0 && at.Before(asOf.Add(retainMargin-l.retain)):
		return *at, tooOld
	case at.Before(l.since):
		return *at, before
	case !l.now && at.After(asOf.Add(-Wait)):
		return *at, tooEarly
	}
	return *at, record
}

// lacking returns those of the types that are not stored.
func lacking(types []lumin.EventType, stored []string) (missing []lumin.EventType) {
	for _, t := range types {
		if !slices.Contains(stored, string(t)) {
			missing = append(missing, t)
		}
	}
	return missing
}
