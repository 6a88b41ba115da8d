package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"lumin-ingest/store/operate"
)

const (
	// patience is how long an order is sent again after its first answer was lost: a
	// program that is restarted is back by then.
	patience = 30 * time.Second

	// claimPatience is the same while the server says that another request is carrying
	// out the order. If a program ended at that moment, this lasts a minute.
	claimPatience = 75 * time.Second

	// The pauses between two attempts grow.
	firstPause, longestPause = 200 * time.Millisecond, 2 * time.Second
)

// Repeated reports whether an order was sent again after an attempt whose answer was
// lost. What the order returned may then leave out what that attempt changed.
func (c *Client) Repeated() bool { return c.repeated.Load() }

// order sends an order, if necessary more than once; see place and [Client.Repeated].
func (c *Client) order(ctx context.Context, path string, in, out any) error {
	unsure, err := c.place(ctx, path, in, out)
	if unsure {
		c.repeated.Store(true)
	}
	return err
}

// place sends an order. If its answer is lost, or the server cannot answer at the
// moment, place sends it again with the same key, so that it is carried out once. If
// the end is not known, the error wraps [operate.ErrInDoubt]. unsure means that an
// attempt without an answer may have been carried out.
func (c *Client) place(ctx context.Context, path string, in, out any) (unsure bool, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return false, fmt.Errorf("encode a request: %w", err)
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	var (
		key    = rand.Text()
		failed time.Time
	)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := c.send(ctx, http.MethodPost, path, body, key, out)
		if err == nil {
			return unsure, nil
		}
		if failed.IsZero() {
			failed = time.Now()
		}
		unsure = unsure || mayHaveEffect(ctx, err)
		rest := patienceWith(err, unsure) - time.Since(failed)
		if ctx.Err() == nil && rest > pause {
			select {
			case <-ctx.Done():
			case <-time.After(pause):
				continue
			}
		}
		switch {
		case unsure && ctx.Err() != nil:
			return unsure, interrupted{}
		case ctx.Err() != nil:
			return unsure, ctx.Err()
		case unsure && !isVerdict(err) && !errors.Is(err, operate.ErrInDoubt):
			return unsure, fmt.Errorf("%w: %w", operate.ErrInDoubt, err)
		}
		return unsure, err
	}
}

// interrupted is the error of an order whose caller has stopped waiting.
type interrupted struct{}

func (interrupted) Error() string { return "interrupted; the server may carry it out all the same" }
func (interrupted) Unwrap() error { return operate.ErrInDoubt }

// mayHaveEffect reports whether an attempt that failed with this error may have been
// carried out. A refusal has changed nothing.
func mayHaveEffect(ctx context.Context, err error) bool {
	var (
		answered *Error
		lost     *unreachable
		dial     *net.OpError
	)
	switch {
	case ctx.Err() != nil:
		return true
	case errors.As(err, &answered):
		return answered.underWay() || errors.Is(answered, operate.ErrInDoubt)
	case errors.As(err, &dial) && dial.Op == "dial":
		return false // it was not sent
	}
	return errors.As(err, &lost)
}

// patienceWith is how long to go on after an error. While it is certain that nothing was
// carried out, that is only for a server that answers that it cannot at the moment.
func patienceWith(err error, unsure bool) time.Duration {
	var answered *Error
	switch asked := errors.As(err, &answered); {
	case asked && answered.underWay():
		return claimPatience
	case asked && answered.Problem.Status == http.StatusServiceUnavailable, unsure && Temporary(err):
		return patience
	}
	return 0
}

// isVerdict reports whether an answer says what became of the order, or why it cannot be
// carried out now: it is none about the caller or the server. A program of another
// version may refuse what the program of an earlier attempt has carried out.
func isVerdict(err error) bool {
	var answered *Error
	if !errors.As(err, &answered) || answered.underWay() {
		return false
	}
	switch answered.Problem.Code {
	case "unknown_operation", "not_found", "invalid_request", "key_reused":
		return false
	}
	switch answered.Problem.Status {
	case http.StatusNotFound, http.StatusConflict, http.StatusGone, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// underWay reports whether another request is carrying out the order.
func (e *Error) underWay() bool { return e.Problem.Code == "under_way" }
