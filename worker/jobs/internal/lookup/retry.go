package lookup

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"lumin-ingest/lumin"
)

const (
	// maxPause is the longest wait for Lumin within a pass. A longer one ends it.
	maxPause = 10 * time.Minute

	// afterFailure is how long to wait after a failure that is likely to affect all
	// signature requests.
	afterFailure = 5 * time.Minute
)

// RetryError ends a pass that can be continued later.
type RetryError struct {
	In  time.Duration // not before this has passed
	err error
}

func (e *RetryError) Error() string { return e.err.Error() }
func (e *RetryError) Unwrap() error { return e.err }

// Pause returns how long periodic work waits before it continues a pass that ended
// with an error in a slice of its time. The error is not one of these if ok is false.
func Pause(slice context.Context, err error) (pause time.Duration, ok bool) {
	var later *RetryError
	switch {
	case err == nil:
		return 0, false
	case errors.As(err, &later):
		return later.In, true
	}
	return 0, slice.Err() != nil
}

// asksToWait returns how long Lumin asks to wait before the next request: with 429,
// and with a 503 that has Retry-After.
func asksToWait(err error) (pause time.Duration, asked bool) {
	var refused *lumin.APIError
	switch {
	case !errors.As(err, &refused):
		return 0, false
	case refused.StatusCode == http.StatusTooManyRequests:
		return max(refused.RetryAfter, time.Second), true
	}
	return refused.RetryAfter, refused.StatusCode == http.StatusServiceUnavailable && refused.RetryAfter > 0
}

// wait waits after an answer that asks for it. If the wait is too long, or longer than
// the context lasts, it returns a [RetryError] at once.
func wait(ctx context.Context, pause time.Duration, answer error) error {
	deadline, limited := ctx.Deadline()
	if pause > maxPause || limited && time.Until(deadline) < pause {
		return retryable(fmt.Errorf("%w, and asks to wait %s", answer, pause))
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pause):
		return nil
	}
}

// retryable makes a RetryError of an error after which the same request may succeed
// later.
func retryable(err error) error {
	var (
		refused *lumin.APIError
		later   *RetryError
	)
	pause, asked := asksToWait(err)
	switch {
	case errors.As(err, &later):
		return err
	case asked:
		return &RetryError{In: pause, err: err}
	case errors.As(err, &refused) && refused.Temporary(), errors.Is(err, lumin.ErrNoAnswer):
		return &RetryError{In: afterFailure, err: err}
	}
	return err
}
