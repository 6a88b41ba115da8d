package reconcile

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/riverqueue/river"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/signaturerequest"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs/internal/lookup"
)

// Reconciler compares lumin.signature_requests with Lumin's API. The package
// documentation has its guarantees.
type Reconciler struct {
	Store *store.Store
	Lumin *lumin.Client

	// Repair updates rows to the values from Lumin. Without it, differences are
	// only reported.
	Repair bool

	// Gone marks signature requests as gone even if Lumin knows none at all.
	// See [Reconciler.Run].
	Gone bool

	// Rate limits the requests per second. 0 means [DefaultRate].
	Rate float64

	// Report is called for each difference. nil: differences are only counted.
	Report func(Difference)

	slice time.Duration // of Periodic; 0 means sliceLength
}

// DefaultRate checks 5,400 signature requests per hour. Lumin publishes no
// limits. A draft of its documentation allowed 3,000 requests in 30 minutes.
const DefaultRate = lookup.DefaultRate

// Difference is a field whose value at Lumin differs from
// lumin.signature_requests. It contains the two values of a status, a signing
// type or a time. For titles and reasons, which people write, it contains no
// values.
type Difference struct {
	SignatureRequestID string `json:"signature_request_id"`
	Field              string `json:"field"` // a column, or "signature_request" if Lumin no longer has it
	Ours               string `json:"ours,omitempty"`
	Lumins             string `json:"lumins,omitempty"`
	Repaired           bool   `json:"repaired"`
}

// Summary counts signature requests by result.
type Summary struct {
	Checked  int `json:"checked"`
	Differ   int `json:"differ"`   // checked and different
	Repaired int `json:"repaired"` // different and repaired
	Gone     int `json:"gone"`     // missing at Lumin and marked as gone
	Unknown  int `json:"unknown"`  // missing at Lumin, which knew none, so not marked
	Failed   int `json:"failed"`   // without a usable response

	// Cause is the error of the first signature request that failed.
	Cause string `json:"cause,omitempty"`
}

// Settled reports whether no difference remains, and no signature request was
// unknown or failed. Signature requests that are gone count as settled.
func (s Summary) Settled() bool {
	return s.Differ == s.Repaired && s.Unknown == 0 && s.Failed == 0
}

// Log logs the counts of a pass, as a warning unless it has settled everything.
func (s Summary) Log(ctx context.Context, logger *slog.Logger) {
	level := slog.LevelInfo
	if !s.Settled() {
		level = slog.LevelWarn
	}
	logger.Log(ctx, level, "reconciled with Lumin", "checked", s.Checked, "differ", s.Differ, "repaired", s.Repaired,
		"gone", s.Gone, "unknown", s.Unknown, "failed", s.Failed, "cause", s.Cause)
}

const pageSize = 100

// ErrAllUnknown is the error of a pass in which Lumin knew none of the
// signature requests. LUMIN_API_KEY may belong to another workspace, or the URL
// may be wrong. Therefore no signature request is marked as gone.
var ErrAllUnknown = lookup.ErrAllUnknown

// Run checks the signature requests that are neither finished nor gone. It
// skips those that were already checked since the given time, which is usually
// now. It begins with those that were not checked for the longest time.
//
// Run may be stopped at any time. Another call with the same time continues
// where it stopped. Several calls may run at once. An error means that Run did
// not check all of them.
//
// A signature request that Lumin does not have (404, 410) is marked as gone. It
// is not checked again until an event of it arrives. A wrong key or URL gives
// the same response, so Lumin must know at least one other: an open one, or one
// of the newest events. If it knows none, no signature request is marked, and
// the error is ErrAllUnknown. If the API does not respond to the first request,
// Run returns immediately.
func (r *Reconciler) Run(ctx context.Context, since time.Time) (sum Summary, err error) {
	p := &pass{Reconciler: r, since: since, lookup: lookup.New(r.Lumin, r.Store.Pool(), r.Rate)}
	for {
		ids, err := signaturerequest.Unchecked(ctx, r.Store.Pool(), since, pageSize)
		if err == nil && len(ids) == 0 {
			err = p.finish(ctx)
		}
		if err != nil || len(ids) == 0 {
			return p.summary(), err
		}
		for _, id := range ids {
			if err := p.check(ctx, id); err != nil {
				return p.summary(), err
			}
		}
	}
}

const (
	sliceTimeout = 5 * time.Minute // also how long a crash delays the work
	sliceLength  = 4 * time.Minute
)

// Logged returns a copy that logs each difference, unless Report is set.
func (r *Reconciler) Logged(logger *slog.Logger) *Reconciler {
	logged := *r
	if logged.Report == nil {
		logged.Report = func(d Difference) {
			logger.Warn("signature request differs at Lumin", "signature_request_id", d.SignatureRequestID, "field", d.Field,
				"ours", d.Ours, "lumins", d.Lumins, "repaired", d.Repaired)
		}
	}
	return &logged
}

// Periodic returns periodic work that checks all signature requests every so
// often, in slices of four minutes. Each slice logs its result. Differences are
// logged too, unless Report is set. If Lumin asks to wait, or its API fails, the pass
// continues after that time, or five minutes later.
func (r *Reconciler) Periodic(every time.Duration, logger *slog.Logger) worker.Periodic {
	var since time.Time // start of the current pass; zero between passes
	logged := r.Logged(logger)
	return worker.Periodic{Kind: "reconcile", Every: every, Timeout: sliceTimeout, Work: func(ctx context.Context) error {
		if since.IsZero() {
			since = time.Now()
		}
		slice, cancel := context.WithTimeout(ctx, cmp.Or(r.slice, sliceLength))
		defer cancel()
		sum, err := logged.Run(slice, since)
		sum.Log(ctx, logger)
		if pause, ok := lookup.Pause(slice, err); ok && ctx.Err() == nil {
			return river.JobSnooze(pause)
		}
		since = time.Time{}
		return err
	}}
}
