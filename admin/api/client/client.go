package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"lumin-ingest/admin/api"
)

// Config configures a [Client].
type Config struct {
	// Server is the URL of the admin listener, without a path or with that of a
	// proxy.
	Server string

	// Token is sent with each request. Empty: none, for a server on the loopback
	// interface that needs none.
	Token string

	// PlainHTTP allows sending the token over plain HTTP to any host. Without it, only
	// a loopback address gets a token over plain HTTP.
	PlainHTTP bool

	// Transport sends the requests. nil: http.DefaultTransport.
	Transport http.RoundTripper
}

// Client is a window through the API of a server. Its methods are safe for
// concurrent use.
type Client struct {
	base  string // URL of the API
	host  string // of the server, for errors
	token string
	http  *http.Client

	repeated atomic.Bool
}

const (
	// timeout of one request. A server answers within 30 s.
	timeout = 45 * time.Second

	// maxAnswer is more than a page of a thousand rows, or of one body, takes.
	maxAnswer = 64 << 20
)

// ErrServer refuses an invalid URL of a server.
var ErrServer = errors.New("the URL of the server is invalid")

// ErrPlainHTTP refuses to send a token over plain HTTP: anyone who reads the network
// could use it.
var ErrPlainHTTP = errors.New("the token would go to another machine over plain HTTP")

// ErrToken refuses a text that is no token. The error does not show it.
var ErrToken = errors.New("a token is one line without spaces")

// New returns a Client. It does not connect. The error is [ErrServer] for an
// invalid URL, [ErrPlainHTTP] for one that a token must not be sent to, and
// [ErrToken] for a text that is no token.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(strings.TrimSpace(cfg.Server))
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, ErrServer // not quoted: it may contain a password
	}
	if u.Scheme == "http" && cfg.Token != "" && !cfg.PlainHTTP && !loopback(u.Hostname()) {
		return nil, ErrPlainHTTP
	}
	if strings.ContainsFunc(cfg.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, ErrToken
	}
	return &Client{
		base: strings.TrimSuffix(u.String(), "/") + api.Prefix, host: u.Host, token: cfg.Token,
		http: &http.Client{
			Transport: cfg.Transport, Timeout: timeout,
			// Another host must not get the token.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
}

// get reads an answer into out.
func (c *Client) get(ctx context.Context, path string, query url.Values, out any) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return c.send(ctx, http.MethodGet, path, nil, "", out)
}

// post sends a question with a body, and reads the answer into out.
func (c *Client) post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode a request: %w", err)
	}
	return c.send(ctx, http.MethodPost, path, body, "", out)
}

func (c *Client) send(ctx context.Context, method, path string, body []byte, key string, out any) error {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make a request: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
		request.GetBody = nil // net/http would send it again, and not say so
	}
	response, err := c.http.Do(request)
	if err != nil {
		return c.unreachable(ctx, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return c.unreachable(ctx, err)
	}
	if response.StatusCode/100 != 2 {
		return c.refusal(response, answer)
	}
	if !isJSON(response) || json.Unmarshal(answer, out) != nil {
		return c.stranger()
	}
	return nil
}

func isJSON(r *http.Response) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && (kind == "application/json" || kind == "application/problem+json")
}
