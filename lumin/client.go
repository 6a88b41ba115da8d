package lumin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Base URLs of Lumin's API, from its public documentation.
const (
	APIURL        = "https://api.luminpdf.com/v1"
	SandboxAPIURL = "https://api-sandbox.luminpdf.com/v1"
)

// ErrInvalidID is the error for an id that no request path can hold. Such an id
// is empty or has a path segment "." or "..", which would change the path.
var ErrInvalidID = errors.New(`the id is empty or has a path segment "." or ".."`)

const (
	// stateTimeout bounds a request for the state of a signature request.
	stateTimeout = 30 * time.Second

	// maxJSON limits the size of a JSON response, in bytes.
	maxJSON = 1 << 20
)

// ClientConfig holds the address and the credential of a [Client]. Set either
// APIKey or Token, not both.
type ClientConfig struct {
	// BaseURL is the base URL of the API. Empty means [APIURL]. It must be
	// https. Only a loopback host (localhost, 127.0.0.1, [::1]) may use http.
	BaseURL string

	// APIKey is a key of the workspace, sent as X-API-Key.
	APIKey string

	// Token is an OAuth access token, sent as a bearer token.
	Token string

	// HTTPClient sends the requests. It also fetches signed links, so it must
	// not add credentials of its own. Redirects are never followed, even if
	// HTTPClient allows them. Nil means a client that waits 10 seconds for a
	// connection and 30 seconds for response headers.
	HTTPClient *http.Client
}

// Client calls Lumin's API, following its public documentation. It is safe for
// concurrent use.
//
// Errors contain no URL, no credential and nothing from a response. A response
// other than 200 becomes an [*APIError]. If the context ended, its error is
// wrapped.
type Client struct {
	base     string // without a trailing slash
	loopback bool   // the host of base is a loopback address
	header   string
	value    string
	http     *http.Client
	now      func() time.Time
	maxFile  int64 // bytes
}

// NewClient returns a Client without connecting. It fails in these cases:
//
//   - The base URL is neither https nor http on a loopback host.
//   - APIKey and Token are both set, or neither is.
//   - The credential contains a character that is not printable ASCII, or a
//     space.
func NewClient(cfg ClientConfig) (*Client, error) {
	if cfg.BaseURL == "" {
		cfg.BaseURL = APIURL
	}
	base, err := url.Parse(cfg.BaseURL)
	if err != nil || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" || base.Opaque != "" {
		return nil, errors.New("the base URL of Lumin's API is invalid: write it like " + APIURL)
	}
	c := &Client{
		base: strings.TrimRight(base.String(), "/"), loopback: isLoopback(base.Hostname()),
		now: time.Now, maxFile: MaxFileSize,
	}
	if base.Scheme != "https" && (base.Scheme != "http" || !c.loopback) {
		return nil, errors.New("the base URL of Lumin's API must begin with https://: plain HTTP would expose the key")
	}
	if c.header, c.value, err = cfg.credential(); err != nil {
		return nil, err
	}
	c.http = withoutRedirects(cfg.HTTPClient)
	return c, nil
}

// credential returns the name and value of the authentication header.
func (cfg ClientConfig) credential() (header, value string, err error) {
	switch {
	case cfg.APIKey != "" && cfg.Token != "":
		return "", "", errors.New("an API key and a token are both set: Lumin's API accepts only one of them")
	case cfg.APIKey != "":
		header, value = "X-API-Key", cfg.APIKey
	case cfg.Token != "":
		header, value = "Authorization", cfg.Token
	default:
		return "", "", errors.New("neither an API key nor a token is set: Lumin's API needs one of them")
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", "", errors.New("the API key or token contains a space, a line break or another character outside printable ASCII")
	}
	if header == "Authorization" {
		value = "Bearer " + value
	}
	return header, value, nil
}

// isLoopback reports whether host is localhost or a loopback address.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// withoutRedirects copies the given client, or builds one with timeouts. The
// result returns redirects as responses: following one could send the key to
// another host.
func withoutRedirects(given *http.Client) *http.Client {
	client := http.Client{}
	if given != nil {
		client = *given
	}
	if client.Transport == nil {
		client.Transport = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout:    10 * time.Second,
			ResponseHeaderTimeout:  30 * time.Second,
			IdleConnTimeout:        90 * time.Second,
			MaxIdleConnsPerHost:    16,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
		}
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

// SignatureRequest fetches the current state of a signature request. It takes
// at most 30 seconds. asOf is the time of that state by Lumin's clock. It comes
// from the response's Date header, in UTC and whole seconds. Without a valid
// Date header it is the local time.
//
// As in a delivery, Lumin decides which fields are present. The error is
// [ErrInvalidID] if no path can hold the id. It is an [*APIError] with
// StatusCode 404 if Lumin does not know the id.
func (c *Client) SignatureRequest(ctx context.Context, id string) (r SignatureRequest, asOf time.Time, err error) {
	s, err := c.State(ctx, id)
	return s.SignatureRequest, s.AsOf, err
}

// State is what Lumin's API answers about a signature request.
type State struct {
	SignatureRequest

	// Object is the signature_request object of the answer, byte for byte. It
	// holds personal data, and its details_url holds a token.
	Object []byte

	AsOf time.Time // as in [Client.SignatureRequest]
}

// State is [Client.SignatureRequest] for a caller that also needs the object as
// Lumin sent it.
func (c *Client) State(ctx context.Context, id string) (s State, err error) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	body, asOf, err := c.state(ctx, id)
	if err == nil {
		s = State{AsOf: asOf, Object: signatureRequestObject(body)}
		s.SignatureRequest, err = DecodeSignatureRequest(body)
	}
	if err != nil {
		return State{}, fmt.Errorf("fetch the signature request from Lumin: %w", err)
	}
	return s, nil
}

// BaseURL returns the address of the API without a trailing slash. It contains
// no credential.
func (c *Client) BaseURL() string { return c.base }

func (c *Client) state(ctx context.Context, id string) ([]byte, time.Time, error) {
	path, err := requestPath(id)
	if err != nil {
		return nil, time.Time{}, err
	}
	resp, err := c.get(ctx, path, jsonType)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer resp.Body.Close()
	body, err := readJSON(ctx, resp)
	return body, c.dateOf(resp), err
}

// requestPath returns the path of a signature request. A server or proxy may
// unescape the path, so an id must not contain a segment "." or "..".
func requestPath(id string) (string, error) {
	if id == "" {
		return "", ErrInvalidID
	}
	for segment := range strings.FieldsFuncSeq(id, func(r rune) bool { return r == '/' || r == '\\' }) {
		if segment == "." || segment == ".." {
			return "", ErrInvalidID
		}
	}
	return "/signature_request/" + url.PathEscape(id), nil
}

// get sends a GET request with the credential to the API.
func (c *Client) get(ctx context.Context, path, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, errors.New("the base URL of Lumin's API does not form a valid request") // err quotes the URL
	}
	req.Header.Set("Accept", accept)
	req.Header.Set(c.header, c.value)
	return c.send(req, false)
}

// send sends a request. A response other than 200 is an error.
func (c *Client) send(req *http.Request, link bool) (*http.Response, error) {
	req.Header.Set("User-Agent", "lumin-ingest")
	req.Header.Set("Accept-Encoding", "identity") // Content-Length must be the length of the file
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, noAnswerError(req.Context(), err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, &APIError{
			StatusCode: resp.StatusCode, Link: link,
			RetryAfter: RetryAfter(resp.Header.Get("Retry-After"), c.dateOf(resp)),
		}
	}
	return resp, nil
}

// dateOf returns the response's Date, or the local time if there is no valid
// Date. Both are in UTC and whole seconds.
func (c *Client) dateOf(resp *http.Response) time.Time {
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		return at.UTC()
	}
	return c.now().UTC().Truncate(time.Second)
}

// readJSON reads a response of at most maxJSON bytes.
func readJSON(ctx context.Context, resp *http.Response) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxJSON+1))
	switch {
	case err != nil:
		return nil, truncatedError(ctx)
	case len(body) > maxJSON:
		return nil, fmt.Errorf("the response is larger than %d bytes", maxJSON)
	}
	return body, nil
}
