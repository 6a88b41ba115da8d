package recovery

import (
	"cmp"
	"context"
	"slices"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/erasure"
	"lumin-ingest/store/operate"
	"lumin-ingest/store/signaturerequest"
	"lumin-ingest/worker/jobs/internal/lookup"
	"lumin-ingest/worker/jobs/reconcile"
)

// Recoverer recovers events. The package documentation has its guarantees.
type Recoverer struct {
	Store *store.Store
	Lumin *lumin.Client
	By    operate.Actor // who recovers, for the audit log and for the payloads

	// Retain is how long retention keeps events. What happened longer ago, less a day
	// of margin, is not recovered. 0 means forever: nothing is too old.
	Retain time.Duration

	// Now also recovers events that Lumin may still deliver, and events of answers
	// that do not say when the status changed.
	Now bool

	// Since leaves out what happened before. The zero time means no limit.
	Since time.Time

	// Rate limits the requests per second. 0 means [reconcile.DefaultRate].
	Rate float64

	// Reconcile gets each answer as well, so that nothing is asked twice. Its own
	// Rate is not used. nil means that the answers are only used to recover.
	Reconcile *reconcile.Reconciler

	// Progress is called before each signature request, and at the end. It may be
	// nil.
	Progress func(Progress)

	slice  time.Duration    // of Periodic; 0 means sliceLength
	clock  func() time.Time // of Periodic; nil means time.Now
	listed int              // signature requests that are listed at once; 0 means maxListed
}

// Progress is how far a pass has come.
type Progress struct {
	Done  int    // signature requests
	Total int    // as far as they are known
	More  bool   // there are more than Total
	Last  string // up to this one, none is left; empty before the first

	Summary Summary // so far
}

// Finding is an event that no source has reported.
type Finding struct {
	SignatureRequestID string          `json:"signature_request_id"`
	EventType          lumin.EventType `json:"event_type"`
	Since              time.Time       `json:"state_since"` // of the status at Lumin
	JobTypes           []string        `json:"job_types"`   // which get a run
	EventID            int64           `json:"event_id,omitempty"`

	// MayBeRetried is true if Lumin may still deliver the original, which would be
	// a redelivery of the recovered event.
	MayBeRetried bool `json:"may_be_retried"`
}

// Summary counts the result of a pass.
type Summary struct {
	Checked  int `json:"checked"`  // signature requests that Lumin answered about
	Found    int `json:"found"`    // events that no source has reported, and that can be recorded
	Recorded int `json:"recorded"` // of these

	// Signature requests without an event to record, and why.
	Open    int      `json:"open"`
	Unknown []string `json:"unknown"` // Lumin does not know them
	Erased  int      `json:"erased"`  // and therefore not asked about
	Failed  int      `json:"failed"`  // without a usable answer, or not recorded

	// OtherStatuses counts those with a status that Lumin does not document.
	OtherStatuses map[string]int `json:"other_statuses,omitempty"`

	// TooOldRequests counts those that were not asked about, because their last change
	// is too old.
	TooOldRequests int `json:"too_old_signature_requests"`

	// Events that are not recorded, and why.
	Stored       int        `json:"stored"` // some source has reported them
	Retried      int        `json:"may_be_retried"`
	RetriedUntil *time.Time `json:"may_be_retried_until,omitempty"` // the latest of these times
	NoTime       int        `json:"without_time"`                   // the answer does not say when the status changed
	NoFile       int        `json:"without_file"`                   // approved, and the file cannot be downloaded
	TooOld       int        `json:"too_old"`                        // retention may have removed them
	Before       int        `json:"before_since"`

	Cause string `json:"cause,omitempty"` // the first error of those that failed

	Reconciled reconcile.Summary `json:"-"` // of Recoverer.Reconcile
}

// Others returns how many signature requests have a status that Lumin does not
// document.
func (s Summary) Others() (n int) {
	for _, some := range s.OtherStatuses {
		n += some
	}
	return n
}

// ErrAllUnknown is the error of a pass in which Lumin knew none of the signature
// requests. The key or the address may be wrong.
var ErrAllUnknown = lookup.ErrAllUnknown

// Selection chooses the signature requests of a pass.
type Selection struct {
	// IDs names signature requests, sorted and without repetitions, whether or not
	// any of their events has arrived. nil chooses those of lumin.signature_requests
	// that are open, or have ended without the event of their end.
	IDs []string

	// After leaves out signature requests up to this one. It continues a pass
	// that was stopped.
	After string
}

// How many signature requests are listed at once. A slice of periodic work asks about
// 360.
const (
	maxListed      = 50_000
	maxListedSlice = 1000
)

// each calls do for each signature request of a selection, in their order.
func (p *pass) each(ctx context.Context, s Selection, do func(ctx context.Context, id string) error) error {
	for next := s.After; ; {
		ids, last, err := p.list(ctx, s, next)
		if err != nil {
			return err
		}
		erased, err := p.erased(ctx, ids)
		if err != nil {
			return err
		}
		p.progress.Total, p.progress.More = p.progress.Total+len(ids), last != ""
		for _, id := range ids {
			p.report()
			if erased[id] {
				p.sum.Erased++
			} else if err := do(ctx, id); err != nil {
				return err
			}
			p.progress.Done, p.progress.Last = p.progress.Done+1, id
		}
		if next = last; next == "" {
			p.report()
			return p.settle(ctx)
		}
		p.progress.Last = next // no other up to there
		p.report()
	}
}

func (p *pass) list(ctx context.Context, s Selection, after string) (ids []string, next string, err error) {
	if s.IDs != nil {
		first, found := slices.BinarySearch(s.IDs, after)
		if found {
			first++
		}
		return s.IDs[first:], "", nil
	}
	var tooOld time.Time
	if p.Retain > 0 {
		tooOld = time.Now().Add(-p.Retain)
	}
	l, err := signaturerequest.Lacking(ctx, p.Store.Pool(), ends(), after, tooOld, cmp.Or(p.listed, maxListed))
	p.sum.TooOldRequests += l.TooOld
	return l.IDs, l.Next, err
}

// erased returns which of the signature requests an erasure names.
func (p *pass) erased(ctx context.Context, ids []string) (map[string]bool, error) {
	erased := map[string]bool{}
	for page := range slices.Chunk(ids, 1000) {
		some, err := erasure.Erased(ctx, p.Store.Pool(), page)
		if err != nil {
			return nil, err
		}
		for _, id := range some {
			erased[id] = true
		}
	}
	return erased, nil
}

// settle ends a pass that has come to its end.
func (p *pass) settle(ctx context.Context) error {
	if err := p.confirm(ctx); err != nil || p.reconcile == nil {
		return err
	}
	return p.reconcile.Finish(ctx)
}

// confirm returns an error if Lumin knew none of several signature requests, nor
// any of the newest events.
func (p *pass) confirm(ctx context.Context) error {
	if len(p.sum.Unknown) == 0 {
		return nil
	}
	return p.lookup.Confirm(ctx, p.sum.Unknown)
}

func (p *pass) report() {
	if p.Progress != nil {
		p.progress.Summary = p.summary()
		p.Progress(p.progress)
	}
}
