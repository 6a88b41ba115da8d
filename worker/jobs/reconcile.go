package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/riverqueue/river"
	"golang.org/x/time/rate"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// Reconcile compares lumin.signature_requests, which [SignatureRequestState] keeps,
// with what Lumin's API tells: it finds what an outage has hidden that was longer than
// Lumin repeats its deliveries. It asks for every signature request that is not over;
// Lumin has no list of them, so one of which no event ever came is not found.
type Reconcile struct {
	Store *store.Store
	Lumin *lumin.Client

	// Repair takes over what Lumin answers. Otherwise differences are only reported.
	Repair bool

	// Gone notes signature requests as gone even where Lumin knows none at all. See
	// [Reconcile.Run].
	Gone bool

	// Rate is how many requests a second are made at most; 0 means
	// [DefaultReconcileRate].
	Rate float64

	// Report is called for each difference; nil is nobody.
	Report func(Difference)

	slice time.Duration // of Periodic; 0 means reconcileSlice
}

// DefaultReconcileRate goes through 5,400 signature requests in an hour. Lumin
// publishes no limits; a draft of its documentation had 3,000 requests in 30 minutes.
const DefaultReconcileRate = 1.5

// Difference is something that Lumin tells otherwise than lumin.signature_requests.
// Its values are statuses and times; of texts that people write it tells only that
// they differ.
type Difference struct {
	SignatureRequestID string `json:"signature_request_id"`
	Field              string `json:"field"` // a column, or "signature_request" if Lumin has it no longer
	Ours               string `json:"ours,omitempty"`
	Lumins             string `json:"lumins,omitempty"`
	Repaired           bool   `json:"repaired"`
}

// Reconciliation counts signature requests by what came of them.
type Reconciliation struct {
	Checked  int `json:"checked"`
	Differ   int `json:"differ"`   // among them
	Repaired int `json:"repaired"` // among those
	Gone     int `json:"gone"`     // at Lumin, and noted
	Unknown  int `json:"unknown"`  // to Lumin, as every one was, and not noted
	Failed   int `json:"failed"`   // without a usable answer

	// Cause is why the first of those that failed did.
	Cause string `json:"cause,omitempty"`
}

// Settled reports whether nothing is left that differs or is not known. Signature
// requests that are gone are settled.
func (r Reconciliation) Settled() bool {
	return r.Differ == r.Repaired && r.Unknown == 0 && r.Failed == 0
}

const (
	reconcilePage = 100

	// maxInARow is how many requests may get no answer one after the other, or be too
	// many, before a pass is given up.
	maxInARow = 5

	// maxUnknown is how many signature requests may be unknown to Lumin while it
	// knows none.
	maxUnknown = 20

	// maxPause is the longest that a 429 is waited for.
	maxPause = 10 * time.Minute
)

// ErrAllUnknown is the error for a pass in which Lumin knew none of the signature
// requests. The key may be that of another workspace, or the URL not that of the API,
// so none is noted as gone.
var ErrAllUnknown = errors.New("none of the signature requests is known to Lumin")

// Run goes through the signature requests that are neither finished nor gone and were
// not requested since a time, which is usually now: once each, those first that
// were not requested for the longest time. It may be stopped at any time and called
// again with the same time to continue, and several may run at once. The error says
// why it gave up.
//
// A signature request that Lumin does not have (404, 410) is noted as gone and not
// requested again, until an event of it arrives. A wrong key or URL gives the same
// answer, so Lumin must know at least one: an open one, or one of the newest events.
// Otherwise nothing is noted, and the error is ErrAllUnknown. An API that does not
// answer at all ends the pass at once.
func (r *Reconcile) Run(ctx context.Context, since time.Time) (sum Reconciliation, err error) {
	pass := &reconcilePass{Reconcile: r, since: since, pace: rate.NewLimiter(rate.Limit(r.rate()), 1)}
	for {
		ids, err := r.Store.UncheckedSignatureRequests(ctx, since, reconcilePage)
		if err == nil && len(ids) == 0 {
			err = pass.finish(ctx)
		}
		if err != nil || len(ids) == 0 {
			return pass.sum, err
		}
		for _, id := range ids {
			if err := pass.check(ctx, id); err != nil {
				return pass.sum, err
			}
		}
	}
}

const (
	reconcileTimeout = 5 * time.Minute // after a crash it is taken up again so much later
	reconcileSlice   = 4 * time.Minute
)

// Periodic is the same done by a running program, in slices of a few minutes. What
// comes of each is logged, and each difference unless Report is set.
func (r *Reconcile) Periodic(every time.Duration, logger *slog.Logger) worker.Periodic {
	var since time.Time // when the pass began that is under way; zero if none is
	logged := *r
	if logged.Report == nil {
		logged.Report = func(d Difference) {
			logger.Warn("signature request differs at Lumin", "signature_request_id", d.SignatureRequestID, "field", d.Field,
				"ours", d.Ours, "lumins", d.Lumins, "repaired", d.Repaired)
		}
	}
	return worker.Periodic{Kind: "reconcile", Every: every, Timeout: reconcileTimeout, Work: func(ctx context.Context) error {
		if since.IsZero() {
			since = time.Now()
		}
		slice, cancel := context.WithTimeout(ctx, cmp.Or(r.slice, reconcileSlice))
		defer cancel()
		sum, err := logged.Run(slice, since)
		level := slog.LevelInfo
		if !sum.Settled() {
			level = slog.LevelWarn
		}
		logger.Log(ctx, level, "reconciled with Lumin", "checked", sum.Checked, "differ", sum.Differ, "repaired", sum.Repaired,
			"gone", sum.Gone, "unknown", sum.Unknown, "failed", sum.Failed, "cause", sum.Cause)
		if err != nil && slice.Err() != nil && ctx.Err() == nil {
			return river.JobSnooze(0)
		}
		since = time.Time{}
		return err
	}}
}

func (r *Reconcile) rate() float64 {
	if r.Rate > 0 {
		return r.Rate
	}
	return DefaultReconcileRate
}

// reconcilePass is one Run.
type reconcilePass struct {
	*Reconcile
	since  time.Time
	pace   *rate.Limiter
	sum    Reconciliation
	failed int // in a row

	known   bool      // Lumin knows at least one
	unknown []missing // as long as it knows none
}

// check asks for one signature request. An error ends the pass.
func (p *reconcilePass) check(ctx context.Context, id string) error {
	asked := p.now()
	told, asOf, err := p.ask(ctx, id)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	unknown := isUnknown(err)
	if err == nil {
		err = rightAnswer(id, told)
	}
	if err != nil && !unknown {
		return p.fail(ctx, id, err)
	}
	p.failed = 0
	p.sum.Checked++
	if unknown {
		return p.missing(ctx, missing{id, asked})
	}
	p.known = true
	if err := p.noteGone(ctx); err != nil {
		return err
	}
	return p.compare(ctx, id, told, asOf)
}

// compare compares what Lumin tells with the row, and repairs it if that is wanted.
func (p *reconcilePass) compare(ctx context.Context, id string, told lumin.SignatureRequest, asOf time.Time) error {
	if !usableStatus(told.Status) {
		told.Status = nil
	}
	var found []Difference
	err := p.Store.CheckSignatureRequest(ctx, id, p.now(), func(row *store.SignatureRequest) bool {
		if found = differences(row, told, asOf); len(found) == 0 || !p.Repair {
			return false
		}
		mergeTold(row, apiVersion(asOf), told)
		return true
	})
	if err != nil || len(found) == 0 {
		return err
	}
	p.sum.Differ++
	if p.Repair {
		p.sum.Repaired++
	}
	for _, d := range found {
		d.Repaired = p.Repair
		p.report(d)
	}
	return nil
}

// ask asks Lumin, as fast as is allowed, and again when Lumin says that it is asked too
// often, and for how long not to.
func (p *reconcilePass) ask(ctx context.Context, id string) (told lumin.SignatureRequest, asOf time.Time, err error) {
	for try := 1; ; try++ {
		if err := p.pace.Wait(ctx); err != nil {
			return told, asOf, err
		}
		told, asOf, err = p.Lumin.SignatureRequest(ctx, id)
		var refused *lumin.APIError
		if !errors.As(err, &refused) || refused.StatusCode != http.StatusTooManyRequests || try == maxInARow {
			return told, asOf, err
		}
		select {
		case <-ctx.Done():
			return told, asOf, ctx.Err()
		case <-time.After(min(max(refused.RetryAfter, time.Second), maxPause)):
		}
	}
}

// fail passes over a signature request of which Lumin does not tell, unless it tells
// of none.
func (p *reconcilePass) fail(ctx context.Context, id string, err error) error {
	var refused *lumin.APIError
	errors.As(err, &refused)
	p.sum.Failed++
	p.sum.Cause = cmp.Or(p.sum.Cause, err.Error())
	aboutIt := refused != nil && !refused.Temporary() || errors.Is(err, lumin.ErrInvalidID)
	switch {
	case refused != nil && (refused.StatusCode == http.StatusUnauthorized || refused.StatusCode == http.StatusForbidden),
		refused != nil && refused.StatusCode == http.StatusTooManyRequests,
		errors.Is(err, lumin.ErrNoAnswer) && p.sum.Checked == 0 && p.sum.Failed == 1:
		return err
	case aboutIt:
		p.failed = 0
	default:
		if p.failed++; p.failed >= maxInARow {
			return fmt.Errorf("%d signature requests one after the other: %w", p.failed, err)
		}
	}
	return p.mark(ctx, id)
}

func (p *reconcilePass) mark(ctx context.Context, id string) error {
	return p.Store.CheckSignatureRequest(ctx, id, p.now(), func(*store.SignatureRequest) bool { return false })
}

// now is when a signature request has been asked for: never before the pass began,
// or it would ask for it again, whatever becomes of the clock.
func (p *reconcilePass) now() time.Time {
	if now := time.Now(); now.After(p.since) {
		return now
	}
	return p.since
}

func (p *reconcilePass) report(d Difference) {
	if p.Report != nil {
		p.Report(d)
	}
}

// apiVersion is the version of what Lumin told at a time: older than any event of
// the same millisecond.
func apiVersion(asOf time.Time) string { return fmt.Sprintf("%015d/00/", asOf.UnixMilli()) }

// differences are the fields that Lumin tells otherwise, and of which no newer event
// has told.
func differences(row *store.SignatureRequest, told lumin.SignatureRequest, asOf time.Time) []Difference {
	var status *string
	if told.Status != nil {
		status = new(string(*told.Status))
	}
	var found []Difference
	add := func(field string, differ bool, ours, lumins string) {
		version := apiVersion(asOf)
		if field == "status" && told.Status != nil {
			version = "0/" + version
			if told.Status.Terminal() {
				version = "1" + version[1:]
			}
		}
		if differ && version > row.Versions[field] {
			found = append(found, Difference{SignatureRequestID: row.ID, Field: field, Ours: ours, Lumins: lumins})
		}
	}
	add("status", status != nil && !same(row.Status, status), shown(row.Status), shown(status))
	add("signing_type", told.SigningType != nil && !same(row.SigningType, told.SigningType), shown(row.SigningType), shown(told.SigningType))
	add("expires_at", told.ExpiresAt != nil && (row.ExpiresAt == nil || !row.ExpiresAt.Equal(*told.ExpiresAt)), shownTime(row.ExpiresAt), shownTime(told.ExpiresAt))
	add("title", told.Title != nil && !same(row.Title, told.Title), "", "")
	add("reason", told.Reason != nil && !same(row.Reason, told.Reason), "", "")
	return found
}

func same(a, b *string) bool { return a != nil && b != nil && *a == *b }

func shown(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func shownTime(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
