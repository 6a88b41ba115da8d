package lumin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// MaxRetryAfter is the upper limit of [APIError.RetryAfter].
const MaxRetryAfter = 24 * time.Hour

// APIError is a response other than 200. Its text contains the status, and
// nothing from the response body.
type APIError struct {
	StatusCode int

	// RetryAfter is the wait before the next request, from the response's
	// Retry-After header. It ranges from one second to MaxRetryAfter. It is 0
	// if the header is missing or unreadable.
	RetryAfter time.Duration

	// Link is true if the response came from the host of a signed link. It is
	// false if it came from the API itself.
	Link bool
}

// Error names the side that answered, the status code and its standard text.
func (e *APIError) Error() string {
	who := "Lumin's API"
	if e.Link {
		who = "the host of the signed link"
	}
	return strings.TrimSpace(fmt.Sprintf("%s answered %d %s", who, e.StatusCode, http.StatusText(e.StatusCode)))
}

// Temporary reports whether the same request may succeed later without any
// intervention. This is so for 408, 425, 429 and 5xx.
func (e *APIError) Temporary() bool {
	switch e.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	default:
		return e.StatusCode >= 500
	}
}

// RetryAfter parses a Retry-After header (RFC 9110, section 10.2.3). The header
// holds seconds or a date. The result ranges from one second to
// [MaxRetryAfter]. It is 0 if the text is neither.
func RetryAfter(text string, now time.Time) time.Duration {
	const shortest = time.Second
	text = strings.TrimSpace(text)
	if text != "" && strings.Trim(text, "0123456789") == "" {
		seconds, err := strconv.ParseUint(text, 10, 32)
		if err != nil { // too large for 32 bits
			return MaxRetryAfter
		}
		return min(max(time.Duration(seconds)*time.Second, shortest), MaxRetryAfter)
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), shortest), MaxRetryAfter)
}

// ErrNoAnswer is wrapped by the error that a request returns if it gets no
// response. The text of that error names the cause: DNS, the connection, TLS, or
// a timeout.
var ErrNoAnswer = errors.New("no answer")

// noAnswerError returns the error for a request without a response. It does not
// wrap err, because net/http quotes the URL and may quote the server.
func noAnswerError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w in time: %w", ErrNoAnswer, ctx.Err())
	}
	var (
		operation   *net.OpError
		lookup      *net.DNSError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		timeout     net.Error
	)
	switch {
	case errors.As(err, &operation):
		return fmt.Errorf("%w: %s", ErrNoAnswer, operation.Error())
	case errors.As(err, &lookup):
		return fmt.Errorf("%w: %s", ErrNoAnswer, lookup.Error())
	case errors.As(err, &certificate):
		return fmt.Errorf("%w: %s", ErrNoAnswer, certificate.Error())
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("%w: the server does not speak TLS", ErrNoAnswer)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%w in time", ErrNoAnswer)
	default:
		return fmt.Errorf("%w: the connection was closed or the response was not HTTP", ErrNoAnswer)
	}
}

// truncatedError returns the error for a response that ended too early.
func truncatedError(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("the response did not arrive in time: %w", ctx.Err())
	}
	return fmt.Errorf("the response was cut off: %w", io.ErrUnexpectedEOF)
}
