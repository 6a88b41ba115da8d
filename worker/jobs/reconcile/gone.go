package reconcile

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store/signaturerequest"
)

// missing is a signature request that Lumin did not have, with the time of the
// request.
type missing struct {
	id    string
	asked time.Time
}

// isUnknown reports whether err says that Lumin has no such signature request.
func isUnknown(err error) bool {
	var refused *lumin.APIError
	return errors.As(err, &refused) && (refused.StatusCode == http.StatusNotFound || refused.StatusCode == http.StatusGone)
}

// checkID returns an error if a response is about another signature request.
func checkID(id string, reported lumin.SignatureRequest) error {
	if reported.ID != nil && *reported.ID != id {
		return errors.New("the answer is about another signature request")
	}
	return nil
}

// missing handles a signature request that Lumin does not have. As long as
// Lumin knows none, it is only marked as checked, unless Gone is set.
func (p *pass) missing(ctx context.Context, m missing) error {
	p.unknown = append(p.unknown, m)
	if p.known || p.Gone {
		return p.markGone(ctx)
	}
	if err := p.markChecked(ctx, m.id); err != nil || len(p.unknown) < maxUnknown {
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
	if !p.known && !p.Gone {
		if err := p.confirmKey(ctx); err != nil {
			return err
		}
	}
	return p.markGone(ctx)
}

// maxOthers is how many signature requests confirmKey tries.
const maxOthers = 3

// confirmKey requests signature requests of the newest events, finished ones
// included, until Lumin knows one. This shows that the key and the URL are
// right.
func (p *pass) confirmKey(ctx context.Context) error {
	unknown := make([]string, len(p.unknown))
	for i, m := range p.unknown {
		unknown[i] = m.id
	}
	others, err := signaturerequest.Newest(ctx, p.Store.Pool(), unknown, maxOthers)
	if err != nil {
		return err
	}
	for _, id := range others {
		reported, _, err := p.request(ctx, id)
		switch {
		case isUnknown(err):
			continue
		case err == nil:
			err = checkID(id, reported)
		}
		if err != nil {
			return err
		}
		p.known = true
		return nil
	}
	p.sum.Unknown = len(unknown)
	return fmt.Errorf("%w: %d were requested", ErrAllUnknown, len(unknown)+len(others))
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
