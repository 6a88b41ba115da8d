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

// Where Lumin's API is, by its public documentation.
const (
	APIURL        = "https://api.luminpdf.com/v1"
	SandboxAPIURL = "https://api-sandbox.luminpdf.com/v1"
)

// ErrInvalidID is the error for an id that cannot be put into a path: an empty
// one, or one that would lead to another path.
var ErrInvalidID = errors.New("the id is empty, or would lead elsewhere in a path")

const (
	// stateTimeout bounds a request for the state of a signature request.
	stateTimeout = 30 * time.Second

	// maxJSON bounds an answer in JSON, in bytes.
	maxJSON = 1 << 20
)

// ClientConfig tells a [Client] whom to ask, and with which credential. APIKey or
// Token is set, not both.
type ClientConfig struct {
	// BaseURL is where the API is. Empty means [APIURL]. It is https; http is for
	// hosts that are this machine (localhost, 127.0.0.1, [::1]).
	BaseURL string

	// APIKey is a key of the workspace, sent as X-API-Key.
	APIKey string

	// Token is an OAuth access token, sent as a bearer token.
	Token string

	// HTTPClient makes the requests, those to signed links too, so it must not add
	// credentials of its own. Redirects are not followed, whatever it says of them.
	// Nil means one that gives up on a connection after 10 seconds and on the
	// beginning of an answer after 30.
	HTTPClient *http.Client
}

// Client asks Lumin's API, as its public documentation describes it. It is safe for
// concurrent use.
//
// Errors hold no URL, no credential and nothing of an answer. An answer other than
// 200 is an [*APIError]. Those of a context that has ended are wrapped.
type Client struct {
	base     string // without a slash at its end
	loopback bool   // base is on this machine
	header   string
	value    string
	http     *http.Client
	now      func() time.Time
	maxFile  int64 // bytes
}

// NewClient returns a Client. It makes no connection. It refuses a base URL that is
// not https, and a credential that is missing, one too many, or no header can hold.
func NewClient(cfg ClientConfig) (*Client, error) {
	if cfg.BaseURL == "" {
		cfg.BaseURL = APIURL
	}
	base, err := url.Parse(cfg.BaseURL)
	if err != nil || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" || base.Opaque != "" {
		return nil, errors.New("the base URL of Lumin's API is not one: write it as in " + APIURL)
	}
	c := &Client{
		base: strings.TrimRight(base.String(), "/"), loopback: isLoopback(base.Hostname()),
		now: time.Now, maxFile: MaxFileSize,
	}
	if base.Scheme != "https" && (base.Scheme != "http" || !c.loopback) {
		return nil, errors.New("the base URL of Lumin's API must begin with https://, or the key could be read on its way")
	}
	if c.header, c.value, err = cfg.credential(); err != nil {
		return nil, err
	}
	c.http = withoutRedirects(cfg.HTTPClient)
	return c, nil
}

// credential is the header that proves who asks.
func (cfg ClientConfig) credential() (header, value string, err error) {
	switch {
	case cfg.APIKey != "" && cfg.Token != "":
		return "", "", errors.New("both an API key and a token are given: Lumin's API takes one of them")
	case cfg.APIKey != "":
		header, value = "X-API-Key", cfg.APIKey
	case cfg.Token != "":
		header, value = "Authorization", cfg.Token
	default:
		return "", "", errors.New("neither an API key nor a token is given: Lumin's API takes one of them")
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", "", errors.New("the API key or token holds a space, a line break or another character that none has")
	}
	if header == "Authorization" {
		value = "Bearer " + value
	}
	return header, value, nil
}

// isLoopback reports whether a host is this machine.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// withoutRedirects is a client like the one given, or else one with timeouts, that
// takes a redirect for an answer: what follows one would take the key along.
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

// SignatureRequest asks for the current state of a signature request, for at most
// 30 seconds. asOf is when that was its state, by Lumin's clock: the Date of the
// answer, in UTC and in whole seconds, or the local time where it has none.
//
// Which fields are told is up to Lumin, as in a delivery. [ErrInvalidID] if the id
// fits no path; an [*APIError] with StatusCode 404 if Lumin does not know it.
func (c *Client) SignatureRequest(ctx context.Context, id string) (r SignatureRequest, asOf time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	body, asOf, err := c.state(ctx, id)
	if err == nil {
		r, err = DecodeSignatureRequest(body)
	}
	if err != nil {
		return SignatureRequest{}, time.Time{}, fmt.Errorf("ask Lumin for a signature request: %w", err)
	}
	return r, asOf, nil
}

func (c *Client) state(ctx context.Context, id string) ([]byte, time.Time, error) {
	path, err := requestPath(id)
	if err != nil {
		return nil, time.Time{}, err
	}
	resp, err := c.ask(ctx, path, jsonType)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer resp.Body.Close()
	body, err := readJSON(ctx, resp)
	return body, c.dateOf(resp), err
}

// requestPath is the path of a signature request. Servers and proxies may unescape
// it, so no id may hold a segment that leads upwards.
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

// ask sends a request with the credential to the API.
func (c *Client) ask(ctx context.Context, path, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, errors.New("no request can be made for the base URL") // err quotes it
	}
	req.Header.Set("Accept", accept)
	req.Header.Set(c.header, c.value)
	return c.send(req, false)
}

// send sends a request. An answer other than 200 is an error.
func (c *Client) send(req *http.Request, link bool) (*http.Response, error) {
	req.Header.Set("User-Agent", "lumin-ingest")
	req.Header.Set("Accept-Encoding", "identity") // so that the length told is that of the file
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, noAnswer(req.Context(), err)
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

// dateOf is the Date of an answer, or else the local time, in whole seconds.
func (c *Client) dateOf(resp *http.Response) time.Time {
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		return at.UTC()
	}
	return c.now().UTC().Truncate(time.Second)
}

// readJSON reads an answer that has to be short.
func readJSON(ctx context.Context, resp *http.Response) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxJSON+1))
	switch {
	case err != nil:
		return nil, brokenOff(ctx)
	case len(body) > maxJSON:
		return nil, fmt.Errorf("the answer has more than %d bytes", maxJSON)
	}
	return body, nil
}
