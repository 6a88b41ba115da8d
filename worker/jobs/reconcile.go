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
	"lumin-ingest/store/signaturerequest"
	"lumin-ingest/worker"
)

// Reconcile compares lumin.signature_requests, which [SignatureRequestState]
// keeps, with Lumin's API. It finds changes that were missed during an outage
// longer than Lumin retries its deliveries. It requests every signature request
// that is not finished. Lumin's API cannot list signature requests, so a
// signature request without any received event is not found.
type Reconcile struct {
	Store *store.Store
	Lumin *lumin.Client

	// Repair updates rows to the values from Lumin. Without it, differences are
	// only reported.
	Repair bool

	// Gone records signature requests as gone even if Lumin knows none at all.
	// See [Reconcile.Run].
	Gone bool

	// Rate limits the requests per second. 0 means [DefaultReconcileRate].
	Rate float64

	// Report is called for each difference. nil: differences are only counted.
	Report func(Difference)

	slice time.Duration // of Periodic; 0 means reconcileSlice
}

// DefaultReconcileRate checks 5,400 signature requests per hour. Lumin
// publishes no limits. A draft of its documentation allowed 3,000 requests in
// 30 minutes.
const DefaultReconcileRate = 1.5

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

// Reconciliation counts signature requests by result.
type Reconciliation struct {
	Checked  int `json:"checked"`
	Differ   int `json:"differ"`   // checked and different
	Repaired int `json:"repaired"` // different and repaired
	Gone     int `json:"gone"`     // missing at Lumin and recorded as gone
	Unknown  int `json:"unknown"`  // missing at Lumin, which knew none, so not recorded
	Failed   int `json:"failed"`   // without a usable response

	// Cause is the error of the first signature request that failed.
	Cause string `json:"cause,omitempty"`
}

// Settled reports whether no difference remains, and no signature request was
// unknown or failed. Signature requests that are gone count as settled.
func (r Reconciliation) Settled() bool {
	return r.Differ == r.Repaired && r.Unknown == 0 && r.Failed == 0
}

const (
	reconcilePage = 100

	// maxInARow is how many consecutive failures end a pass. It is also how
	// many times one request is made while Lumin answers 429.
	maxInARow = 5

	// maxUnknown is how many signature requests may be unknown to Lumin while
	// it knows none.
	maxUnknown = 20

	// maxPause is the longest wait after a 429.
	maxPause = 10 * time.Minute
)

// ErrAllUnknown is the error for a pass in which Lumin knew none of the
// signature requests. The key may be that of another workspace, or the URL not
// that of the API, so none is noted as gone.
var ErrAllUnknown = errors.New("none of the signature requests is known to Lumin")

// Run goes through the signature requests that are neither finished nor gone
// and were not requested since a time, which is usually now: once each, those
// first that were not requested for the longest time. It may be stopped at any
// time and called again with the same time to continue, and several may run at
// once. The error says why it gave up.
//
// A signature request that Lumin does not have (404, 410) is noted as gone and
// not requested again, until an event of it arrives. A wrong key or URL gives
// the same answer, so Lumin must know at least one: an open one, or one of the
// newest events. Otherwise nothing is noted, and the error is ErrAllUnknown. An
// API that does not answer at all ends the pass at once.
func (r *Reconcile) Run(ctx context.Context, since time.Time) (sum Reconciliation, err error) {
	pass := &reconcilePass{Reconcile: r, since: since, pace: rate.NewLimiter(rate.Limit(r.rate()), 1)}
	for {
		ids, err := signaturerequest.Unchecked(ctx, r.Store.Pool(), since, reconcilePage)
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
	reconcileTimeout = 5 * time.Minute // also how long a crash delays the work
	reconcileSlice   = 4 * time.Minute
)

// Periodic returns periodic work that does the same in slices of four minutes.
// Each slice logs its result. Differences are logged too, unless Report is set.
func (r *Reconcile) Periodic(every time.Duration, logger *slog.Logger) worker.Periodic {
	var since time.Time // start of the current pass; zero between passes
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
	failed int // consecutive failures

	known   bool      // Lumin knows at least one signature request
	unknown []missing // collected until Lumin knows one
}

// check requests and compares one signature request. An error ends the pass.
func (p *reconcilePass) check(ctx context.Context, id string) error {
	asked := p.now()
	reported, asOf, err := p.ask(ctx, id)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	unknown := isUnknown(err)
	if err == nil {
		err = rightAnswer(id, reported)
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
	return p.compare(ctx, id, reported, asOf)
}

// compare compares Lumin's values with the row. It updates the row if Repair is
// set.
func (p *reconcilePass) compare(ctx context.Context, id string, reported lumin.SignatureRequest, asOf time.Time) error {
	if !usableStatus(reported.Status) {
		reported.Status = nil
	}
	var found []Difference
	err := signaturerequest.Check(ctx, p.Store.Pool(), id, p.now(), func(row *signaturerequest.Row) bool {
		if found = differences(row, reported, asOf); len(found) == 0 || !p.Repair {
			return false
		}
		mergeReported(row, apiVersion(asOf), reported)
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

// ask requests a signature request from Lumin within the rate limit. After a
// 429 it waits for Retry-After, from a second to maxPause, and tries again.
func (p *reconcilePass) ask(ctx context.Context, id string) (reported lumin.SignatureRequest, asOf time.Time, err error) {
	for try := 1; ; try++ {
		if err := p.pace.Wait(ctx); err != nil {
			return reported, asOf, err
		}
		reported, asOf, err = p.Lumin.SignatureRequest(ctx, id)
		var refused *lumin.APIError
		if !errors.As(err, &refused) || refused.StatusCode != http.StatusTooManyRequests || try == maxInARow {
			return reported, asOf, err
		}
		select {
		case <-ctx.Done():
			return reported, asOf, ctx.Err()
		case <-time.After(min(max(refused.RetryAfter, time.Second), maxPause)):
		}
	}
}

// fail skips a signature request that failed. It ends the pass instead if the
// error is likely to affect all of them: a wrong key, too many requests, an API
// that never answered, or maxInARow consecutive failures.
func (p *reconcilePass) fail(ctx context.Context, id string, err error) error {
	var refused *lumin.APIError
	errors.As(err, &refused)
	p.sum.Failed++
	p.sum.Cause = cmp.Or(p.sum.Cause, err.Error())
	onlyThisOne := refused != nil && !refused.Temporary() || errors.Is(err, lumin.ErrInvalidID)
	switch {
	case refused != nil && (refused.StatusCode == http.StatusUnauthorized || refused.StatusCode == http.StatusForbidden),
		refused != nil && refused.StatusCode == http.StatusTooManyRequests,
		errors.Is(err, lumin.ErrNoAnswer) && p.sum.Checked == 0 && p.sum.Failed == 1:
		return err
	case onlyThisOne:
		p.failed = 0
	default:
		if p.failed++; p.failed >= maxInARow {
			return fmt.Errorf("%d signature requests one after the other: %w", p.failed, err)
		}
	}
	return p.mark(ctx, id)
}

func (p *reconcilePass) mark(ctx context.Context, id string) error {
	return signaturerequest.Check(ctx, p.Store.Pool(), id, p.now(), func(*signaturerequest.Row) bool { return false })
}

// now returns the time of a check. It is never before the start of the pass,
// even if the clock is set back. Otherwise the pass would check the signature
// request again.
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

// apiVersion returns the version of an API response. It sorts before every
// event of the same millisecond.
func apiVersion(asOf time.Time) string { return fmt.Sprintf("%015d/00/", asOf.UnixMilli()) }

// differences returns the fields whose values at Lumin differ. It skips fields
// that an event newer than the response has set.
func differences(row *signaturerequest.Row, reported lumin.SignatureRequest, asOf time.Time) []Difference {
	var status *string
	if reported.Status != nil {
		status = new(string(*reported.Status))
	}
	var found []Difference
	add := func(field string, differ bool, ours, lumins string) {
		version := apiVersion(asOf)
		if field == "status" && reported.Status != nil {
			version = "0/" + version
			if reported.Status.Terminal() {
				version = "1" + version[1:]
			}
		}
		if differ && version > row.Versions[field] {
			found = append(found, Difference{SignatureRequestID: row.ID, Field: field, Ours: ours, Lumins: lumins})
		}
	}
	add("status", status != nil && !same(row.Status, status), shown(row.Status), shown(status))
	add("signing_type", reported.SigningType != nil && !same(row.SigningType, reported.SigningType), shown(row.SigningType), shown(reported.SigningType))
	add("expires_at", reported.ExpiresAt != nil && (row.ExpiresAt == nil || !row.ExpiresAt.Equal(*reported.ExpiresAt)), shownTime(row.ExpiresAt), shownTime(reported.ExpiresAt))
	add("title", reported.Title != nil && !same(row.Title, reported.Title), "", "")
	add("reason", reported.Reason != nil && !same(row.Reason, reported.Reason), "", "")
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
