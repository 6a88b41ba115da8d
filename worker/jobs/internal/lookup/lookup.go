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
	// times one request is made while Lumin answers 429.
	MaxInARow = 5

	// MaxUnknown is how many signature requests may be unknown to Lumin while it
	// knows none.
	MaxUnknown = 20

	// maxPause is the longest wait after a 429.
	maxPause = 10 * time.Minute

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
)

// Pass asks about many signature requests. It is not safe for concurrent use.
type Pass struct {
	Checked int    // answered, whether Lumin knew the signature request or not
	Failed  int    // without a usable answer
	Cause   string // the error of the first one that failed

	client   *lumin.Client
	pool     *pgxpool.Pool
	limiter  *rate.Limiter
	failures int  // consecutive
	known    bool // Lumin knows at least one signature request
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
	case err != nil:
		return answer, p.fail(err)
	default:
		p.known = true
	}
	p.failures = 0
	p.Checked++
	return answer, nil
}

// HasFile asks whether a file of a signature request can be downloaded now. Its
// errors are those of Ask.
func (p *Pass) HasFile(ctx context.Context, id string, t lumin.FileType) (has bool, err error) {
	err = p.limited(ctx, func() (err error) {
		has, err = p.client.HasFile(ctx, id, t)
		return err
	})
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil:
		p.Checked-- // it got only half of an answer
		return false, p.fail(err)
	}
	p.failures = 0
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
	for _, id := range others {
		var state lumin.State
		err := p.limited(ctx, func() (err error) {
			state, err = p.client.State(ctx, id)
			return err
		})
		switch {
		case isUnknown(err):
			continue
		case err != nil:
			return err
		case state.ID != nil && *state.ID != id:
			return errors.New("the answer is about another signature request")
		}
		p.known = true
		return nil
	}
	return fmt.Errorf("%w: %d were requested", ErrAllUnknown, len(unknown)+len(others))
}

// limited makes a request within the rate limit. After a 429 it waits for
// Retry-After, from a second to maxPause, and tries again.
func (p *Pass) limited(ctx context.Context, request func() error) error {
	for try := 1; ; try++ {
		if err := p.limiter.Wait(ctx); err != nil {
			return err
		}
		err := request()
		var refused *lumin.APIError
		if !errors.As(err, &refused) || refused.StatusCode != http.StatusTooManyRequests || try == MaxInARow {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(max(refused.RetryAfter, time.Second), maxPause)):
		}
	}
}

// fail counts a failure. It returns an error that ends the pass if the failure is
// likely to affect all signature requests: a wrong key, too many requests, an API
// that never answered, or MaxInARow consecutive failures.
func (p *Pass) fail(err error) error {
	var refused *lumin.APIError
	errors.As(err, &refused)
	p.Failed++
	p.Cause = cmp.Or(p.Cause, err.Error())
	onlyThisOne := refused != nil && !refused.Temporary() || errors.Is(err, lumin.ErrInvalidID)
	switch {
	case refused != nil && (refused.StatusCode == http.StatusUnauthorized || refused.StatusCode == http.StatusForbidden),
		refused != nil && refused.StatusCode == http.StatusTooManyRequests,
		errors.Is(err, lumin.ErrNoAnswer) && p.Checked == 0 && p.Failed == 1:
		return err
	case onlyThisOne:
		p.failures = 0
	default:
		if p.failures++; p.failures >= MaxInARow {
			return fmt.Errorf("%d signature requests one after the other: %w", p.failures, err)
		}
	}
	return fmt.Errorf("%w: %w", ErrSkip, err)
}

// isUnknown reports whether err says that Lumin has no such signature request.
func isUnknown(err error) bool {
	var refused *lumin.APIError
	return errors.As(err, &refused) && (refused.StatusCode == http.StatusNotFound || refused.StatusCode == http.StatusGone)
}
