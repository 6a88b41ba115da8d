package reconcile

import (
	"context"
	"errors"
	"time"

	"lumin-ingest/store/signaturerequest"
	"lumin-ingest/worker/jobs/internal/lookup"
)

// missing is a signature request that Lumin did not have, with the time of the
// request.
type missing struct {
	id    string
	asked time.Time
}

// missing handles a signature request that Lumin does not have. As long as
// Lumin knows none, it is only marked as checked, unless Gone is set.
func (p *pass) missing(ctx context.Context, m missing) error {
	p.unknown = append(p.unknown, m)
	if p.lookup.Known() || p.Gone {
		return p.markGone(ctx)
	}
	if err := p.markChecked(ctx, m.id); err != nil || len(p.unknown) < lookup.MaxUnknown {
		return err
	}
	return p.finish(ctx)
}

// finish marks the missing signature requests as gone if Lumin knows at least
// one other, or if Gone is set.
func (p *pass) finish(ctx context.Context) error {
	if len(p.unknown) == 0 {
		return nil
	}
	if !p.Gone {
		ids := make([]string, len(p.unknown))
		for i, m := range p.unknown {
			ids[i] = m.id
		}
		if err := p.lookup.Confirm(ctx, ids); err != nil {
			if errors.Is(err, ErrAllUnknown) {
				p.sum.Unknown = len(ids)
			}
			return err
		}
	}
	return p.markGone(ctx)
}

// markGone marks the missing signature requests as gone, except those with an
// event that is newer than the request to Lumin.
func (p *pass) markGone(ctx context.Context) error {
	for _, m := range p.unknown {
		marked := false
		err := signaturerequest.Check(ctx, p.Store.Pool(), m.id, p.now(), func(row *signaturerequest.Row) bool {
			if marked = row.LastEventTime == nil || !row.LastEventTime.After(m.asked); marked {
				row.GoneAt = &m.asked
			}
			return marked
		})
		if err != nil {
			return err
		}
		if marked {
			p.sum.Gone++
			p.report(Difference{SignatureRequestID: m.id, Field: "signature_request", Lumins: "gone"})
		}
	}
	p.unknown = nil
	return nil
}
