package reconcile

import (
	"context"
	"errors"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store/signaturerequest"
	"lumin-ingest/worker/jobs/internal/lookup"
	"lumin-ingest/worker/jobs/internal/merge"
)

// pass is one Run, or the part of it in a pass of another package.
type pass struct {
	*Reconciler
	lookup *lookup.Pass
	since  time.Time
	sum    Summary

	unknown []missing // collected until Lumin knows one
}

// check requests and compares one signature request. An error ends the pass.
func (p *pass) check(ctx context.Context, id string) error {
	answer, err := p.lookup.Ask(ctx, id)
	switch {
	case errors.Is(err, lookup.ErrSkip):
		return p.markChecked(ctx, id)
	case err != nil:
		return err
	}
	return p.take(ctx, answer)
}

// take compares an answer with the row of its signature request.
func (p *pass) take(ctx context.Context, answer lookup.Answer) error {
	if answer.Unknown {
		return p.missing(ctx, missing{answer.ID, answer.Asked})
	}
	if err := p.markGone(ctx); err != nil {
		return err
	}
	return p.compare(ctx, answer.ID, answer.SignatureRequest, answer.AsOf)
}

// summary returns the counts so far.
func (p *pass) summary() Summary {
	sum := p.sum
	sum.Checked, sum.Failed, sum.Cause = p.lookup.Checked, p.lookup.Failed, p.lookup.Cause
	return sum
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
