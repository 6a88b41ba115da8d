package access_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"lumin-ingest/admin/access"
)

func TestProxies(t *testing.T) {
	t.Parallel()
	secret, token := access.NewToken("robot", access.Read)
	s := newSite(access.Config{Tokens: []access.Token{token}, Proxies: access.Proxies{
		Trusted: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, UserHeader: "X-Forwarded-User",
		Roles: map[string]access.Role{"ann@example.com": access.Erase, "bob": access.Operate},
	}})
	from := func(addr string, headers ...string) *http.Request {
		r := request(http.MethodPost, "/", headers...)
		r.RemoteAddr = addr
		return r
	}
	s.want(t, from("10.1.0.1:1", "X-Forwarded-User", "ann@example.com", "X-Forwarded-For", "1.2.3.4, 192.0.2.9, 10.1.9.9"), http.StatusOK, "ann@example.com erase 192.0.2.9")
	s.want(t, from("10.1.0.1:1", "X-Forwarded-User", "bob"), http.StatusOK, "bob operate 10.1.0.1")
	s.want(t, from("10.1.0.1:1", "X-Forwarded-User", "cat"), http.StatusForbidden, "cat has the role read")
	s.want(t, from("10.1.0.1:1", "X-Forwarded-User", "*"), http.StatusForbidden, "has the role read")
	for name, r := range map[string]*http.Request{
		"elsewhere":        from("10.2.0.1:1", "X-Forwarded-User", "ann@example.com"),
		"twice":            from("10.1.0.1:1", "X-Forwarded-User", "cat", "X-Forwarded-User", "ann@example.com"),
		"empty":            from("10.1.0.1:1", "X-Forwarded-User", " "),
		"control":          from("10.1.0.1:1", "X-Forwarded-User", "ann@example.com\x00"),
		"other header":     from("10.1.0.1:1", "X-Auth-Request-User", "ann@example.com"),
		"forged hop":       from("10.2.0.1:1", "X-Forwarded-For", "10.1.0.1", "X-Forwarded-User", "ann@example.com"),
		"too long":         from("10.1.0.1:1", "X-Forwarded-User", strings.Repeat("x", 201)),
		"no header at all": from("10.1.0.1:1"),
	} {
		if res := s.do(r); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
	}
	s.want(t, from("10.1.0.1:1", "Authorization", "Bearer "+secret), http.StatusForbidden, "robot has the role read")

	r := from("10.1.0.1:1", "X-Forwarded-User", "robot")
	r.Method, r.URL.Path = http.MethodGet, "/id"
	s.want(t, r, http.StatusOK, access.Caller{Name: "robot", Proxied: true}.ID())

	// Over HTTPS, as a trusted proxy reports it, the cookie is secure.
	r = httptest.NewRequest(http.MethodPost, "http://dash.example/sign-in", strings.NewReader(url.Values{"token": {secret}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-Forwarded-Proto", "https")
	r.RemoteAddr = "10.1.0.1:1"
	cookies := s.do(r).Cookies()
	if len(cookies) != 1 || !cookies[0].Secure || !strings.HasPrefix(cookies[0].Name, "__Host-") {
		t.Errorf("cookies %v", cookies)
	}
	everyone := newSite(access.Config{Proxies: access.Proxies{
		Trusted: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, UserHeader: "X-Forwarded-User", Roles: map[string]access.Role{"*": access.Operate},
	}})
	everyone.want(t, from("10.1.0.1:1", "X-Forwarded-User", "cat"), http.StatusOK, "cat operate")
}

// A proxy passes on the password that it has checked, or adds a token of its own. The
// user whom it has signed in counts, and such a header is no attempt to sign in. One of
// our tokens still counts.
func TestAuthorizationOfProxy(t *testing.T) {
	t.Parallel()
	secret, token := access.NewToken("robot", access.Operate)
	s := newSite(access.Config{Tokens: []access.Token{token}, Proxies: access.Proxies{
		Trusted: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, UserHeader: "X-Forwarded-User",
	}})
	from := func(addr string, headers ...string) *http.Request {
		r := request(http.MethodGet, "/", headers...)
		r.RemoteAddr = addr
		return r
	}
	for range 12 {
		for _, value := range []string{"Basic YW5uOnNlY3JldA==", "Bearer eyJhbGciOiJub25lIn0.e30.", "Bearer", "", "Basic " + secret} {
			s.want(t, from("10.1.0.1:1", "X-Forwarded-User", "ann", "Authorization", value), http.StatusOK, "ann read 10.1.0.1")
		}
	}
	s.want(t, from("10.1.0.1:1", "X-Forwarded-User", "ann", "Authorization", "Bearer "+secret, "Authorization", "Basic x"), http.StatusOK, "ann read")
	s.want(t, from("10.1.0.1:1", "X-Forwarded-User", "ann", "Authorization", "Bearer "+secret), http.StatusOK, "robot operate")
	if n := signIns(t, s.registry, "refused") + signIns(t, s.registry, "limited"); n != 0 || s.log.Len() > 0 {
		t.Errorf("%v attempts failed: %s", n, s.log.String())
	}
	s.want(t, from("10.1.0.1:1", "Authorization", "Basic YW5uOnNlY3JldA=="), http.StatusUnauthorized, "not_signed_in") // without a user
	s.want(t, from("10.2.0.1:1", "X-Forwarded-User", "ann", "Authorization", "Bearer x"), http.StatusUnauthorized, "wrong_token")
}

// A token and a proxy's user of the same name are two callers.
func TestID(t *testing.T) {
	t.Parallel()
	token, user := access.Caller{Name: "ann"}, access.Caller{Name: "ann", Proxied: true}
	if token.ID() == user.ID() || token.ID() != (access.Caller{Name: "ann", From: "10.0.0.7", Role: access.Read, Session: true}).ID() {
		t.Errorf("%q, %q", token.ID(), user.ID())
	}
}
