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

// MaxRetryAfter is the longest time that [APIError.RetryAfter] tells.
const MaxRetryAfter = 24 * time.Hour

// APIError is an answer other than 200. Its text has the status and nothing of what
// the answer says.
type APIError struct {
	StatusCode int

	// RetryAfter is how long to wait before asking again, as the answer's Retry-After
	// has it in seconds or as a date: from a second to MaxRetryAfter, and 0 if it does
	// not tell.
	RetryAfter time.Duration

	// Link tells that it was not the API that answered so, but the host of the signed
	// link that the API had given.
	Link bool
}

// Error implements error.
func (e *APIError) Error() string {
	who := "Lumin's API"
	if e.Link {
		who = "the host of the signed link"
	}
	return strings.TrimSpace(fmt.Sprintf("%s answered %d %s", who, e.StatusCode, http.StatusText(e.StatusCode)))
}

// Temporary reports whether the same request may succeed a while later with nobody
// doing anything about it: 408, 425, 429 and 5xx.
func (e *APIError) Temporary() bool {
	switch e.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	default:
		return e.StatusCode >= 500
	}
}

// RetryAfter reads a Retry-After (RFC 9110, section 10.2.3), which has seconds or a
// date: from a second to [MaxRetryAfter], and 0 if it tells neither.
func RetryAfter(text string, now time.Time) time.Duration {
	const shortest = time.Second
	text = strings.TrimSpace(text)
	if text != "" && strings.Trim(text, "0123456789") == "" {
		seconds, err := strconv.ParseUint(text, 10, 32)
		if err != nil { // too many digits
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

// ErrNoAnswer is wrapped by the error of a request that nobody answered. The text
// of that error names the cause: the name in DNS, the connection, TLS, or time.
var ErrNoAnswer = errors.New("no answer")

// noAnswer is the error of a request without an answer. That of net/http is not
// wrapped: it quotes the URL, and may quote the other side.
func noAnswer(ctx context.Context, err error) error {
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
		return fmt.Errorf("%w: the other side does not speak TLS", ErrNoAnswer)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%w in time", ErrNoAnswer)
	default:
		return fmt.Errorf("%w: the connection ended, or what came was not HTTP", ErrNoAnswer)
	}
}

// brokenOff is the error of an answer that ended before its end.
func brokenOff(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("the answer did not come in time: %w", ctx.Err())
	}
	return fmt.Errorf("the answer broke off: %w", io.ErrUnexpectedEOF)
}
