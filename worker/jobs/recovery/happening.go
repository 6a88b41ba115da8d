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

const (
	// retainMargin is how long before retention removes an event it counts as too old:
	// the clocks of Lumin and of the database may differ, and Lumin may change the time
	// of a finished signature request.
	retainMargin = 24 * time.Hour

	// maxAhead is how far a time may be ahead of the answer that has it. What is
	// further ahead is not a time.
	maxAhead = 24 * time.Hour
)

// judge decides about the happenings in an answer of Lumin. They happened when the
// answer says that it was updated. If it does not say when, they count as of the
// answer. stored says that some event of the signature request is stored.
//
// Without any stored event, retention may have removed all of them, even if Lumin has
// changed the time since. Then the time of creation decides. If the answer has none
// either, only what has a time is recorded.
func (l limits) judge(s lumin.State, stored bool) (when time.Time, v verdict) {
	at, oldest := s.UpdatedAt, s.AsOf.Add(retainMargin-l.retain)
	if at == nil || (lumin.Envelope{EventTime: *at}).CheckTime() != nil || at.After(s.AsOf.Add(maxAhead)) {
		switch {
		case !l.now:
			return s.AsOf, noTime
		case l.retain > 0 && !stored && (s.CreatedAt == nil || s.CreatedAt.Before(oldest)):
			return s.AsOf, tooOld
		}
		return s.AsOf, record
	}
	switch {
	case l.retain > 0 && at.Before(oldest), l.retain > 0 && !stored && s.CreatedAt != nil && s.CreatedAt.Before(oldest):
		return *at, tooOld
	case at.Before(l.since):
		return *at, before
	case !l.now && at.After(s.AsOf.Add(-Wait)):
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
