package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"lumin-ingest/lumin"
	"lumin-ingest/store/signaturerequest"
	"lumin-ingest/worker/jobs/internal/merge"
)

// pass is one Run.
type pass struct {
	*Reconciler
	since    time.Time
	limiter  *rate.Limiter
	sum      Summary
	failures int // consecutive failures

	known   bool      // Lumin knows at least one signature request
	unknown []missing // collected until Lumin knows one
}

// check requests and compares one signature request. An error ends the pass.
func (p *pass) check(ctx context.Context, id string) error {
	asked := p.now()
	reported, asOf, err := p.request(ctx, id)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	unknown := isUnknown(err)
	if err == nil {
		err = checkID(id, reported)
	}
	if err != nil && !unknown {
		return p.fail(ctx, id, err)
	}
	p.failures = 0
	p.sum.Checked++
	if unknown {
		return p.missing(ctx, missing{id, asked})
	}
	p.known = true
	if err := p.markGone(ctx); err != nil {
		return err
	}
	return p.compare(ctx, id, reported, asOf)
}

// compare compares Lumin's values with the row. It updates the row if Repair is
// set.
func (p *pass) compare(ctx context.Context, id string, reported lumin.SignatureRequest, asOf time.Time) error {
	if !merge.UsableStatus(reported.Status) {
		reported.Status = nil
	}
	var found []Difference
	err := signaturerequest.Check(ctx, p.Store.Pool(), id, p.now(), func(row *signaturerequest.Row) bool {
		if found = differences(row, reported, asOf); len(found) == 0 || !p.Repair {
			return false
		}
		merge.Response(row, reported, asOf)
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

// request requests a signature request from Lumin within the rate limit. After
// a 429 it waits for Retry-After, from a second to maxPause, and tries again.
func (p *pass) request(ctx context.Context, id string) (reported lumin.SignatureRequest, asOf time.Time, err error) {
	for try := 1; ; try++ {
		if err := p.limiter.Wait(ctx); err != nil {
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
func (p *pass) fail(ctx context.Context, id string, err error) error {
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
		p.failures = 0
	default:
		if p.failures++; p.failures >= maxInARow {
			return fmt.Errorf("%d signature requests one after the other: %w", p.failures, err)
		}
	}
	return p.markChecked(ctx, id)
}

func (p *pass) markChecked(ctx context.Context, id string) error {
	return signaturerequest.Check(ctx, p.Store.Pool(), id, p.now(), func(*signaturerequest.Row) bool { return false })
}

// now returns the time of a check. It is never before the start of the pass,
// even if the clock is set back. Otherwise the pass would check the signature
// request again.
func (p *pass) now() time.Time {
	if now := time.Now(); now.After(p.since) {
		return now
	}
	return p.since
}

func (p *pass) report(d Difference) {
	if p.Report != nil {
		p.Report(d)
	}
}
