package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"lumin-ingest/admin/api"
	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/version"
	"lumin-ingest/store/conflict"
	"lumin-ingest/store/operate"
)

// Error is a problem that the server answered with. It matches the errors of the
// rooms in store that the server found.
type Error struct {
	Problem api.Problem
}

// Error returns the server's text, and the invalid parts of the request.
func (e *Error) Error() string {
	text := e.Problem.Detail
	for _, part := range e.Problem.Errors {
		text += "; " + part.Location + ": " + part.Message
	}
	return text
}

// Is reports whether the server found this error.
func (e *Error) Is(target error) bool { return api.Means(e.Problem.Code, target) }

// As makes the error of a decision that the server refused.
func (e *Error) As(target any) bool {
	refused, ok := target.(**conflict.RefusedError)
	if ok && e.Problem.Code == "decision_refused" {
		*refused = &conflict.RefusedError{Reason: e.Problem.Detail, Hint: e.Problem.Hint}
		return true
	}
	return false
}

// Temporary reports whether the same request may succeed later.
func (e *Error) Temporary() bool {
	return e.Problem.Status == http.StatusServiceUnavailable || e.Problem.Status == http.StatusTooManyRequests ||
		e.Problem.Status == http.StatusBadGateway || e.Problem.Status == http.StatusGatewayTimeout
}

// Temporary reports whether a call that failed with this error may succeed later: no
// answer came in time, or the server answered that it cannot at the moment. A wrong
// token and a missing role are lasting.
func Temporary(err error) bool {
	var (
		answered *Error
		lost     *unreachable
	)
	if errors.As(err, &answered) {
		return answered.Temporary()
	}
	return errors.As(err, &lost) || errors.Is(err, context.DeadlineExceeded)
}

// unreachable means that no answer came.
type unreachable struct{ error }

func (e *unreachable) Unwrap() error { return e.error }

// unreachable explains why no answer came. The URL of the request stays out: it
// may contain names of signers.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var called *url.Error
	if errors.As(err, &called) {
		err = called.Err
	}
	what := fmt.Errorf("the server %s does not answer: %w", c.host, err)
	var (
		certificate *tls.CertificateVerificationError
		name        x509.HostnameError
		unknown     x509.UnknownAuthorityError
		record      tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &name):
		return advice.Add(what, "name the server as its certificate does")
	case errors.As(err, &unknown), errors.As(err, &certificate):
		return advice.Add(what, "let this machine trust the issuer of the certificate: SSL_CERT_FILE names a file of issuers")
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return advice.Add(what, "the server speaks plain HTTP: write http:// in --server")
	}
	return &unreachable{advice.Add(what, "check --server and whether the program runs there; it is the address of its admin listener")}
}

// refusal makes an error of an answer that is none of success.
func (c *Client) refusal(r *http.Response, answer []byte) error {
	if r.StatusCode/100 == 3 {
		return c.elsewhere(r)
	}
	e := &Error{}
	if !isJSON(r) || json.Unmarshal(answer, &e.Problem) != nil || e.Problem.Code == "" {
		if r.StatusCode >= http.StatusInternalServerError {
			return &unreachable{advice.Add(fmt.Errorf("the server %s answers %s", c.host, r.Status), "check that the program behind this address runs")}
		}
		return c.stranger()
	}
	e.Problem.Status = r.StatusCode
	switch {
	case r.StatusCode == http.StatusUnauthorized && c.token == "":
		return advice.Add(e.as("the server %s needs a token", c.host), "name a file with a valid token by --token-file; \"token new\" on the server makes one")
	case r.StatusCode == http.StatusUnauthorized:
		return advice.Add(e.as("the server %s does not accept the token", c.host), "name a file with a valid token by --token-file; \"token new\" on the server makes one")
	case e.Problem.Code == "role_missing":
		return advice.Add(e, "use a token with that role; \"token new --role\" on the server makes one")
	case e.Problem.Code == "database_right_missing":
		return advice.Add(e, "%s", e.Problem.Hint)
	case r.StatusCode == http.StatusNotFound && (e.Problem.Code == "unknown_operation" || e.Problem.Code == "not_found"):
		return advice.Add(e.as("the server %s has no such operation", c.host),
			"it is older than this program, %s: upgrade the server, or use its own version of this program", version.Read().Version)
	case errors.Is(e, operate.ErrInDoubt):
		return e // its hint is about the key, which only this package knows
	case e.Problem.Hint != "":
		return advice.Add(e, "%s", e.Problem.Hint)
	case e.Temporary():
		return advice.Add(e, "try again later")
	}
	return e
}

// as replaces the server's text by one that names the server.
func (e *Error) as(format string, args ...any) *Error {
	e.Problem.Detail = fmt.Sprintf(format, args...)
	return e
}

// elsewhere is the error for a redirection. It is not followed: the other host would
// get the token. Only the host is shown, because the rest may hold a secret.
func (c *Client) elsewhere(r *http.Response) error {
	to, err := r.Location()
	if err != nil {
		return c.stranger()
	}
	return advice.Add(fmt.Errorf("the server %s redirects to %s://%s", c.host, to.Scheme, to.Host),
		"write the final address in --server, if you trust it; behind a proxy with a sign-in page, name the program itself")
}

// stranger is the error for an answer that this API never gives.
func (c *Client) stranger() error {
	return advice.Add(fmt.Errorf("%s is not the API of lumin-ingest", c.host),
		"--server is the address of the admin listener, as in ADMIN_LISTEN_ADDR; behind a proxy with a sign-in page, name the program itself")
}
