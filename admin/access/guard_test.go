package access_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/admin/access"
)

// site is a guard with two routes behind it. GET and POST / answer the name and the
// role of the caller. POST /erase needs the role erase.
type site struct {
	*echo.Echo
	guard    *access.Guard
	log      bytes.Buffer
	registry *prometheus.Registry
	now      time.Time
}

func newSite(cfg access.Config) *site {
	s := &site{Echo: echo.New(), registry: prometheus.NewRegistry(), now: time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)}
	cfg.Logger = slog.New(slog.NewTextHandler(&s.log, nil))
	cfg.Registerer = s.registry
	cfg.Now = func() time.Time { return s.now }
	s.guard = access.New(cfg)
	s.Use(access.Headers)
	s.guard.Register(s.Echo)
	g := s.Group("", s.guard.Protect, access.Changes("/theme"))
	who := func(c echo.Context) error {
		caller := access.From(c.Request().Context())
		return c.String(http.StatusOK, caller.Name+" "+caller.Role.String()+" "+caller.From)
	}
	g.GET("/", who)
	g.POST("/", who)
	g.GET("/api/v1/events", who)
	g.POST("/theme", who)
	g.GET("/id", func(c echo.Context) error { return c.String(http.StatusOK, access.From(c.Request().Context()).ID()) })
	g.POST("/erase", who, access.Require(access.Erase))
	return s
}

// request makes a request from this machine. headers are pairs; the header Host sets
// the host.
func request(method, target string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, "http://127.0.0.1:8081"+target, nil)
	r.RemoteAddr = "127.0.0.1:50000"
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func (s *site) do(r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

// want checks the status of an answer, and that its body contains a text.
func (s *site) want(t *testing.T, r *http.Request, status int, contains string) *http.Response {
	t.Helper()
	res := s.do(r)
	var body bytes.Buffer
	_, _ = body.ReadFrom(res.Body)
	if res.StatusCode != status || !strings.Contains(body.String(), contains) {
		t.Errorf("%s %s %v is answered %d %s, want %d with %q", r.Method, r.URL, r.Header, res.StatusCode, body.String(), status, contains)
	}
	return res
}

// signIn posts the form and returns the session's cookie; nil if it was refused.
func (s *site) signIn(secret, from string) (*http.Response, *http.Cookie) {
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:8081/sign-in", strings.NewReader(url.Values{"token": {secret}, "next": {"/events?status=failed"}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "text/html")
	r.RemoteAddr = from
	res := s.do(r)
	for _, cookie := range res.Cookies() {
		return res, cookie
	}
	return res, nil
}

func withCookie(r *http.Request, c *http.Cookie) *http.Request {
	r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	return r
}

func TestLocalWithoutToken(t *testing.T) {
	t.Parallel()
	s := newSite(access.Config{Local: true, Hosts: []string{"Dash.Example."}})
	for _, host := range []string{"127.0.0.1:8081", "127.0.0.9", "localhost", "LOCALHOST:1", "[::1]:8081", "[::1]", "dash.example:443", "localhost."} {
		s.want(t, request(http.MethodPost, "/erase", "Host", host), http.StatusOK, "local user erase 127.0.0.1")
	}
	for _, host := range []string{"evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8081", "10.0.0.1", "0.0.0.0:8081", "xdash.example", ""} {
		s.want(t, request(http.MethodGet, "/", "Host", host), http.StatusForbidden, "host_not_allowed")
		s.want(t, request(http.MethodGet, "/sign-in", "Host", host), http.StatusForbidden, "host_not_allowed")
	}
	for _, header := range []string{
		"X-Forwarded-For", "Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via", "X-Forwarded-Server", "X-Forwarded-User", "X-Auth-Request-Email",
		"CF-Connecting-IP", "Tailscale-User-Login",
	} {
		s.want(t, request(http.MethodGet, "/", header, "x"), http.StatusForbidden, "forwarded")
	}
	r := request(http.MethodGet, "/") // as nginx sends it unless told otherwise
	r.Proto, r.ProtoMinor = "HTTP/1.0", 0
	s.want(t, r, http.StatusForbidden, "forwarded")
	for url, status := range map[string]int{
		"http://localhost:8081/x": http.StatusOK, "http://[::1]:8081": http.StatusOK, "https://dash.example/": http.StatusOK,
		"https://admin.example/": http.StatusForbidden, "null": http.StatusForbidden, "https://127.0.0.1.evil.example": http.StatusForbidden, "%": http.StatusForbidden,
	} {
		s.want(t, request(http.MethodPost, "/erase", "Sec-Fetch-Site", "same-origin", "Origin", url), status, "")
		s.want(t, request(http.MethodGet, "/", "Sec-Fetch-Site", "same-origin", "Referer", url), status, "")
	}
	s.want(t, request(http.MethodGet, "/", "Sec-Fetch-Site", "cross-site", "Referer", "https://chat.example/"), http.StatusOK, "local user") // a link to the page
	if res := s.want(t, request(http.MethodGet, "/sign-in"), http.StatusSeeOther, ""); res.Header.Get("Location") != "/" {
		t.Errorf("the sign-in page leads to %s", res.Header.Get("Location"))
	}
}

func TestOtherSites(t *testing.T) {
	t.Parallel()
	secret, token := access.NewToken("ann", access.Erase)
	for name, s := range map[string]*site{"without a token": newSite(access.Config{Local: true}), "with a session": newSite(access.Config{Tokens: []access.Token{token}})} {
		_, cookie := s.signIn(secret, "127.0.0.1:1")
		for _, headers := range [][]string{
			{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"},
			{"Origin", "http://127.0.0.1:9999"}, {"Sec-Fetch-Site", "cross-site", "Origin", "http://127.0.0.1:8081"},
		} {
			for _, path := range []string{"/", "/erase", "/sign-out", "/sign-in"} {
				r := request(http.MethodPost, path, headers...)
				if cookie != nil {
					withCookie(r, cookie)
				}
				s.want(t, r, http.StatusForbidden, "cross_site")
			}
		}
		r := request(http.MethodPost, "/erase", "Sec-Fetch-Site", "same-origin", "Origin", "http://127.0.0.1:8081")
		if cookie != nil {
			withCookie(r, cookie)
		}
		if s.want(t, r, http.StatusOK, " erase "); t.Failed() {
			t.Log(name)
		}
	}
}

func TestElsewhereWithoutToken(t *testing.T) {
	t.Parallel()
	s := newSite(access.Config{})
	s.want(t, request(http.MethodGet, "/", "Accept", "text/html", "Host", "10.0.0.7:8081"), http.StatusForbidden, "ADMIN_TOKENS_FILE")
	s.want(t, request(http.MethodGet, "/api/v1/events"), http.StatusForbidden, "dashboard_off")
	s.want(t, request(http.MethodPost, "/sign-in"), http.StatusForbidden, "dashboard_off")
	if !s.guard.Off() {
		t.Error("the guard is not off")
	}
}

func TestRoles(t *testing.T) {
	t.Parallel()
	var tokens []access.Token
	secrets := map[string]string{}
	for _, role := range []access.Role{access.Read, access.Operate, access.Erase} {
		secret, token := access.NewToken("with-"+role.String(), role)
		secrets[role.String()], tokens = secret, append(tokens, token)
	}
	s := newSite(access.Config{Tokens: tokens})
	for _, test := range []struct {
		role, method, path string
		status             int
		contains           string
	}{
		{"read", http.MethodGet, "/", http.StatusOK, "with-read read"},
		{"read", http.MethodPost, "/", http.StatusForbidden, "This needs the role operate"},
		{"read", http.MethodPost, "/erase", http.StatusForbidden, "This needs the role operate"},
		{"read", http.MethodPost, "/theme", http.StatusOK, "with-read read"},
		{"read", http.MethodDelete, "/", http.StatusForbidden, "This needs the role operate"},
		{"operate", http.MethodPost, "/", http.StatusOK, "with-operate operate"},
		{"operate", http.MethodPost, "/erase", http.StatusForbidden, "This needs the role erase"},
		{"erase", http.MethodPost, "/erase", http.StatusOK, "with-erase erase"},
	} {
		s.want(t, request(test.method, test.path, "Authorization", "Bearer "+secrets[test.role]), test.status, test.contains)
	}
	s.want(t, request(http.MethodPost, "/", "Authorization", "Bearer "+secrets["read"], "Accept", "text/html"), http.StatusForbidden, "with-read has the role read")
	res := s.want(t, request(http.MethodPost, "/", "Authorization", "Bearer "+secrets["read"]), http.StatusForbidden, `"code":"role_missing"`)
	if kind := res.Header.Get("Content-Type"); kind != "application/problem+json" {
		t.Errorf("a refusal has the type %s", kind)
	}
}

func TestBearer(t *testing.T) {
	t.Parallel()
	secret, token := access.NewToken("ann", access.Read)
	s := newSite(access.Config{Tokens: []access.Token{token}})
	s.want(t, request(http.MethodGet, "/api/v1/events", "Authorization", "bearer "+secret), http.StatusOK, "ann read 127.0.0.1")
	res := s.want(t, request(http.MethodGet, "/api/v1/events"), http.StatusUnauthorized, "not_signed_in")
	if res.Header.Get("WWW-Authenticate") == "" {
		t.Error("no WWW-Authenticate")
	}
	for _, headers := range [][]string{
		{"Authorization", "Basic " + secret}, {"Authorization", secret}, {"Authorization", "Bearer " + secret, "Authorization", "Bearer " + secret},
	} {
		s.want(t, request(http.MethodGet, "/", headers...), http.StatusUnauthorized, "not_signed_in")
	}
	for _, wrong := range []string{"", "x", secret[:len(secret)-1], secret + "x", strings.ToUpper(secret)} {
		s.want(t, request(http.MethodGet, "/", "Authorization", "Bearer "+wrong), http.StatusUnauthorized, "wrong_token")
	}
	s.want(t, request(http.MethodGet, "/?token="+secret), http.StatusUnauthorized, "not_signed_in")
}

// With ADMIN_HOSTS, other names are refused even with a token.
func TestHostsWithToken(t *testing.T) {
	t.Parallel()
	secret, token := access.NewToken("ann", access.Read)
	for _, test := range []struct {
		hosts  []string
		status int
	}{{nil, http.StatusOK}, {[]string{"dash.example"}, http.StatusForbidden}} {
		s := newSite(access.Config{Tokens: []access.Token{token}, Hosts: test.hosts})
		s.want(t, request(http.MethodGet, "/", "Host", "other.example", "Authorization", "Bearer "+secret), test.status, "")
		s.want(t, request(http.MethodGet, "/", "Host", "dash.example", "Authorization", "Bearer "+secret), http.StatusOK, "ann")
	}
}

func TestHeadersOfEveryAnswer(t *testing.T) {
	t.Parallel()
	secret, token := access.NewToken("ann", access.Read)
	s := newSite(access.Config{Tokens: []access.Token{token}})
	for _, r := range []*http.Request{
		request(http.MethodGet, "/"), request(http.MethodGet, "/", "Accept", "text/html"), request(http.MethodGet, "/sign-in"), request(http.MethodGet, "/sign-in.css"),
		request(http.MethodPost, "/erase", "Authorization", "Bearer "+secret), request(http.MethodGet, "/nothing"), request(http.MethodGet, "/", "Authorization", "Bearer "+secret),
	} {
		h := s.do(r).Header
		for name, want := range map[string]string{
			"Content-Security-Policy": access.ContentSecurityPolicy, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
			"Referrer-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s %s: %s is %q", r.Method, r.URL, name, got)
			}
		}
	}
	for _, part := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
		if !strings.Contains(access.ContentSecurityPolicy, part) {
			t.Errorf("the policy lacks %s", part)
		}
	}
	if strings.Contains(access.ContentSecurityPolicy, "unsafe") {
		t.Error("the policy allows inline code")
	}
}

func TestUnknownCaller(t *testing.T) {
	t.Parallel()
	if c := access.From(t.Context()); c.Role.May(access.Read) {
		t.Errorf("without Protect: %+v", c)
	}
	var problem struct{ Code string }
	s := newSite(access.Config{Tokens: []access.Token{{}}})
	res := s.do(request(http.MethodGet, "/nothing"))
	if err := json.NewDecoder(res.Body).Decode(&problem); err != nil || res.StatusCode != http.StatusUnauthorized {
		t.Errorf("an unknown path tells a stranger %d, %+v, %v", res.StatusCode, problem, err)
	}
}
