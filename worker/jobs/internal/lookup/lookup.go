package lookup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/time/rate"

	"lumin-ingest/lumin"
	"lumin-ingest/store/signaturerequest"
)

// DefaultRate is 5,400 requests per hour. Lumin publishes no limits. A draft of
// its documentation allowed 3,000 requests in 30 minutes.
const DefaultRate = 1.5

const (
	// MaxInARow is how many consecutive failures end a pass. It is also how many
	// times one request is made while Lumin asks to wait.
	MaxInARow = 5

	// MaxUnknown is how many signature requests may be unknown to Lumin while it
	// knows none.
	MaxUnknown = 20

	// maxOthers is how many signature requests Confirm tries.
	maxOthers = 3
)

var (
	// ErrSkip is wrapped by an error that concerns one signature request only.
	ErrSkip = errors.New("this signature request is skipped")

	// ErrAllUnknown is the error of a pass in which Lumin knew none of the
	// signature requests. The key may belong to another workspace, or the address
	// may be wrong.
	ErrAllUnknown = errors.New("none of the signature requests is known to Lumin")

	errNoFiles = errors.New("not asked for its file, because that failed for several others before")
)

// Pass asks about many signature requests. It is not safe for concurrent use.
type Pass struct {
	Checked int    // answered, whether Lumin knew the signature request or not
	Failed  int    // without a usable answer
	Cause   string // the error of the first one that failed

	client  *lumin.Client
	pool    *pgxpool.Pool
	limiter *rate.Limiter
	known   bool // Lumin knows at least one signature request

	// Consecutive failures, by kind.
	failures int // of states
	refusals int // of the key (401, 403)
	files    int // of files
}

// New returns a Pass of at most perSecond requests per second. 0 means
// [DefaultRate].
func New(client *lumin.Client, pool *pgxpool.Pool, perSecond float64) *Pass {
	if perSecond <= 0 {
		perSecond = DefaultRate
	}
	return &Pass{client: client, pool: pool, limiter: rate.NewLimiter(rate.Limit(perSecond), 1)}
}

// Answer is what Lumin says about a signature request.
type Answer struct {
	lumin.State // zero if Unknown

	ID      string
	Unknown bool      // Lumin does not have it (404, 410)
	Asked   time.Time // just before the first request, by this machine's clock
}

// Ask asks for the state of a signature request. An error that wraps [ErrSkip]
// concerns this one only. Any other error ends the pass.
func (p *Pass) Ask(ctx context.Context, id string) (Answer, error) {
	answer := Answer{ID: id, Asked: time.Now()}
	err := p.limited(ctx, func() (err error) {
		answer.State, err = p.client.State(ctx, id)
		return err
	})
	if err == nil && answer.State.ID != nil && *answer.State.ID != id {
		err = errors.New("the answer is about another signature request")
	}
	switch {
	case ctx.Err() != nil:
		return answer, ctx.Err()
	case isUnknown(err):
		answer.Unknown = true
	case isRefusal(err):
		return answer, p.refused(ctx, id, err)
	case err != nil:
		return answer, p.fail(id, err)
	default:
		p.known = true
	}
	p.failures, p.refusals = 0, 0
	p.Checked++
	return answer, nil
}

// HasFile asks whether a file of a signature request can be downloaded now. Call it
// after Ask. Its errors are those of Ask. After MaxInARow consecutive failures it asks
// no more: the files may be out of order, or closed to the key, while the states are not.
func (p *Pass) HasFile(ctx context.Context, id string, t lumin.FileType) (has bool, err error) {
	if p.files >= MaxInARow {
		p.Checked-- // it got only half of an answer
		return false, p.skip(id, errNoFiles)
	}
	err = p.limited(ctx, func() (err error) {
		has, err = p.client.HasFile(ctx, id, t, p.slot)
		return err
	})
	switch _, asked := asksToWait(err); {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case asked:
		p.Checked--
		return false, p.fail(id, err)
	case err != nil:
		p.Checked--
		p.files++
		return false, p.skip(id, err)
	}
	p.files = 0
	return has, nil
}

// Known reports whether Lumin knew at least one signature request. This shows
// that the key and the address are right.
func (p *Pass) Known() bool { return p.known }

// Confirm returns nil if Lumin knows at least one signature request. Otherwise
// it asks about signature requests of the newest events, finished ones included,
// except those that Lumin is already known not to have. The error is
// [ErrAllUnknown] if Lumin knows none of them either.
func (p *Pass) Confirm(ctx context.Context, unknown []string) error {
	if p.known {
		return nil
	}
	others, err := signaturerequest.Newest(ctx, p.pool, unknown, maxOthers)
	if err != nil {
		return err
	}
	var refusal error
	for _, id := range others {
		var state lumin.State
		err := p.limited(ctx, func() (err error) {
			state, err = p.client.State(ctx, id)
			return err
		})
		switch {
		case isUnknown(err):
			continue
		case isRefusal(err): // perhaps of this one only
			refusal = err
			continue
		case err != nil:
			return retryable(err)
		case state.ID != nil && *state.ID != id:
			return errors.New("the answer is about another signature request")
		}
		p.known = true
		return nil
	}
	if refusal != nil {
		return refusal
	}
	return fmt.Errorf("%w: %d were requested", ErrAllUnknown, len(unknown)+len(others))
}

// limited makes a request within the rate limit. If Lumin asks to wait, it waits and
// tries again.
func (p *Pass) limited(ctx context.Context, request func() error) error {
	for try := 1; ; try++ {
		if err := p.slot(ctx); err != nil {
			return err
		}
		err := request()
		pause, asked := asksToWait(err)
		if !asked || try == MaxInARow {
			return err
		}
		if err := wait(ctx, pause, err); err != nil {
			return err
		}
	}
}

// slot waits until the next request may be made.
func (p *Pass) slot(ctx context.Context) error {
	if err := p.limiter.Wait(ctx); err != nil {
		<-ctx.Done() // the next slot is behind the deadline
		return ctx.Err()
	}
	return nil
}

// refused decides about an answer that refuses the key. It concerns only this
// signature request if Lumin answers about others.
func (p *Pass) refused(ctx context.Context, id string, err error) error {
	if p.refusals++; !p.known || p.refusals >= MaxInARow {
		p.known, p.refusals = false, 0
		switch confirm := p.Confirm(ctx, []string{id}); {
		case confirm == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case isRefusal(confirm), errors.Is(confirm, ErrAllUnknown):
			p.count(err)
			return err
		default:
			return confirm
		}
	}
	return p.skip(id, err)
}

// fail counts a failure. It returns an error that ends the pass if the failure is
// likely to affect all signature requests: too many requests, an API that never
// answered, or MaxInARow consecutive failures.
func (p *Pass) fail(id string, err error) error {
	var refused *lumin.APIError
	onlyThisOne := errors.As(err, &refused) && !refused.Temporary() || errors.Is(err, lumin.ErrInvalidID)
	_, asked := asksToWait(err)
	switch {
	case asked, errors.Is(err, lumin.ErrNoAnswer) && p.Checked == 0 && p.Failed == 0:
		p.count(err)
		return retryable(err)
	case onlyThisOne:
		p.failures = 0
	default:
		if p.failures++; p.failures >= MaxInARow {
			p.count(about(id, err))
			return &RetryError{In: afterFailure, err: fmt.Errorf("%d signature requests one after the other: %w", p.failures, err)}
		}
	}
	return p.skip(id, err)
}

// skip counts a failure that concerns one signature request.
func (p *Pass) skip(id string, err error) error {
	err = about(id, err)
	p.count(err)
	return fmt.Errorf("%w: %w", ErrSkip, err)
}

func (p *Pass) count(err error) {
	p.Failed++
	p.Cause = cmp.Or(p.Cause, err.Error())
}

// about adds the signature request to an error. An id may have any characters.
func about(id string, err error) error { return fmt.Errorf("signature request %q: %w", id, err) }

// isUnknown reports whether err says that Lumin has no such signature request.
func isUnknown(err error) bool {
	var refused *lumin.APIError
	return errors.As(err, &refused) && (refused.StatusCode == http.StatusNotFound || refused.StatusCode == http.StatusGone)
}

// isRefusal reports whether err says that the key is not valid here.
func isRefusal(err error) bool {
	var refused *lumin.APIError
	return errors.As(err, &refused) && (refused.StatusCode == http.StatusUnauthorized || refused.StatusCode == http.StatusForbidden)
}
