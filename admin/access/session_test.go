package access_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lumin-ingest/admin/access"
)

func TestSession(t *testing.T) {
	t.Parallel()
	secret, token := access.NewToken("ann", access.Operate)
	otherSecret, other := access.NewToken("bob", access.Read)
	s := newSite(access.Config{Local: true, Tokens: []access.Token{token, other}})
	res := s.want(t, request(http.MethodGet, "/?a=1&b=2", "Accept", "text/html"), http.StatusSeeOther, "")
	if at := res.Header.Get("Location"); at != "/sign-in?next=%2F%3Fa%3D1%26b%3D2" {
		t.Errorf("without a session a page leads to %s", at)
	}
	s.want(t, request(http.MethodGet, "/sign-in?next=/events", "Accept", "text/html"), http.StatusOK, `name="next" value="/events"`)
	res, cookie := s.signIn(" "+secret+"\n", "127.0.0.1:1")
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/events?status=failed" || cookie == nil {
		t.Fatalf("signing in is answered %d to %s", res.StatusCode, res.Header.Get("Location"))
	}
	if !cookie.HttpOnly || cookie.Secure || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Domain != "" || strings.Contains(cookie.Value, secret) {
		t.Errorf("cookie %v", cookie)
	}
	mine := func() *http.Request { return withCookie(request(http.MethodPost, "/"), cookie) }
	s.want(t, mine(), http.StatusOK, "ann operate")
	s.want(t, withCookie(request(http.MethodGet, "/"), &http.Cookie{Name: cookie.Name, Value: cookie.Value + "x"}), http.StatusUnauthorized, "not_signed_in")

	_, otherCookie := s.signIn(otherSecret, "127.0.0.1:1")
	s.want(t, withCookie(request(http.MethodPost, "/sign-out"), cookie), http.StatusSeeOther, "")
	s.want(t, mine(), http.StatusUnauthorized, "not_signed_in")
	theirs := func() *http.Request { return withCookie(request(http.MethodGet, "/"), otherCookie) }
	s.want(t, theirs(), http.StatusOK, "bob read")

	_, cookie = s.signIn(secret, "127.0.0.1:1")
	s.guard.SetTokens(nil) // all are revoked: the site does not become open
	s.want(t, request(http.MethodGet, "/"), http.StatusUnauthorized, "not_signed_in")
	s.guard.SetTokens([]access.Token{token}) // bob's is revoked
	s.want(t, theirs(), http.StatusUnauthorized, "not_signed_in")
	s.guard.SetTokens([]access.Token{token, other})
	s.want(t, theirs(), http.StatusUnauthorized, "not_signed_in")
	token.Role = access.Read
	s.guard.SetTokens([]access.Token{token})
	s.want(t, mine(), http.StatusForbidden, "role operate") // the role of the file counts
	s.now = s.now.Add(12*time.Hour - time.Second)
	s.want(t, withCookie(request(http.MethodGet, "/"), cookie), http.StatusOK, "ann read")
	s.now = s.now.Add(time.Second)
	s.want(t, withCookie(request(http.MethodGet, "/"), cookie), http.StatusUnauthorized, "not_signed_in")
	if log := s.log.String(); !strings.Contains(log, "name=ann role=operate from=127.0.0.1") || strings.Contains(log, secret) || strings.Contains(log, cookie.Value) {
		t.Errorf("log %s", log)
	}
}

// After signing in, the browser stays on this host.
func TestNext(t *testing.T) {
	t.Parallel()
	s := newSite(access.Config{Local: true})
	for next, want := range map[string]string{
		"/events?status=failed#x": "/events?status=failed#x", "": "/", "events": "/", "https://evil.example": "/", "//evil.example": "/",
		`/\evil.example`: "/", "/\t/evil.example": "/", "/\n/evil.example": "/", "javascript:alert(1)": "/", "/" + strings.Repeat("x", 3000): "/",
	} {
		res := s.do(request(http.MethodGet, "/sign-in?next="+url.QueryEscape(next)))
		if got := res.Header.Get("Location"); got != want {
			t.Errorf("%q leads to %q, want %q", next, got, want)
		}
	}
}

func TestTooManyAttempts(t *testing.T) {
	t.Parallel()
	secret, token := access.NewToken("ann", access.Read)
	s := newSite(access.Config{Tokens: []access.Token{token}})
	const far, good = "10.0.0.7:1", "10.0.0.8:1"
	if _, cookie := s.signIn(secret, good); cookie == nil {
		t.Fatal("not signed in")
	}
	for range 10 {
		if res, _ := s.signIn("wrong", far); res.StatusCode != http.StatusUnauthorized {
			t.Fatalf("a wrong token is answered %d", res.StatusCode)
		}
	}
	res, cookie := s.signIn(secret, far)
	if res.StatusCode != http.StatusTooManyRequests || cookie != nil || res.Header.Get("Retry-After") == "" {
		t.Errorf("after ten attempts: %d", res.StatusCode)
	}
	r := request(http.MethodGet, "/", "Authorization", "Bearer "+secret)
	r.RemoteAddr = far
	s.want(t, r, http.StatusTooManyRequests, "too_many_attempts")
	if _, cookie := s.signIn(secret, "10.0.0.9:1"); cookie == nil {
		t.Error("another address is limited too")
	}
	s.now = s.now.Add(6 * time.Second)
	if _, cookie := s.signIn(secret, far); cookie == nil {
		t.Error("the limit does not end")
	}
	s.now = s.now.Add(time.Second)
	six := func(from string) int { res, _ := s.signIn("wrong", from); return res.StatusCode }
	s.now = s.now.Add(time.Hour)
	for i := range 11 { // of one /64
		want := http.StatusUnauthorized
		if i == 10 {
			want = http.StatusTooManyRequests
		}
		if got := six("[2001:db8::" + string('a'+rune(i%6)) + "]:1"); got != want {
			t.Errorf("attempt %d of a /64 is answered %d", i, got)
		}
	}
	if strings.Contains(s.log.String(), secret) || strings.Contains(s.log.String(), "wrong") {
		t.Errorf("a token is in the log: %s", s.log.String())
	}
	for result, least := range map[string]float64{"accepted": 3, "refused": 20, "limited": 3} {
		if n := signIns(t, s.registry, result); n < least {
			t.Errorf("%s is counted %v times", result, n)
		}
	}
}

// Strangers with many addresses lock no right token out, and get no further guesses.
func TestOverallLimit(t *testing.T) {
	t.Parallel()
	secret, token := access.NewToken("ann", access.Read)
	s := newSite(access.Config{Tokens: []access.Token{token}})
	for i := range 300 { // from many addresses
		_, _ = s.signIn("wrong", netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String()+":1")
	}
	for i := range 10 {
		if res, _ := s.signIn("wrong", "10.2.0.2:1"); res.StatusCode != http.StatusTooManyRequests {
			t.Errorf("the overall limit, attempt %d: %d", i, res.StatusCode)
		}
	}
	if _, cookie := s.signIn(secret, "10.2.0.1:1"); cookie == nil {
		t.Error("strangers have locked out a right token")
	}
	if res, cookie := s.signIn(secret, "10.2.0.2:1"); res.StatusCode != http.StatusTooManyRequests || cookie != nil {
		t.Errorf("a guess after ten attempts beyond the overall limit: %d", res.StatusCode)
	}
	if refused, limited := signIns(t, s.registry, "refused"), signIns(t, s.registry, "limited"); refused != 200 || limited != 111 {
		t.Errorf("%v attempts were refused and %v limited", refused, limited)
	}
}

// One caller with a wrong token does not lock out those who share an address with it,
// and strangers with many addresses do not make the guard forget them.
func TestNeighbors(t *testing.T) {
	t.Parallel()
	secret, token := access.NewToken("ann", access.Read)
	newSecret, newToken := access.NewToken("bob", access.Read)
	s := newSite(access.Config{Tokens: []access.Token{token, newToken}})
	bearer := func(secret, from string) *http.Request {
		r := request(http.MethodGet, "/api/v1/events", "Authorization", "Bearer "+secret)
		r.RemoteAddr = from
		return r
	}
	const shared = "10.0.0.7:1"
	s.want(t, bearer(secret, shared), http.StatusOK, "ann")
	for range 10 {
		s.want(t, bearer("wrong", shared), http.StatusUnauthorized, "wrong_token")
	}
	s.want(t, bearer("wrong", shared), http.StatusTooManyRequests, "too_many_attempts")
	s.want(t, bearer(newSecret, shared), http.StatusTooManyRequests, "too_many_attempts") // could be a guess
	s.want(t, bearer(secret, shared), http.StatusOK, "ann")
	for i := range 5000 {
		s.now = s.now.Add(time.Second)
		_ = s.do(bearer("wrong", netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).String()+":1"))
	}
	for range 11 {
		_ = s.do(bearer("wrong", shared))
	}
	s.want(t, bearer(secret, shared), http.StatusOK, "ann")
	s.guard.SetTokens([]access.Token{newToken})
	s.want(t, bearer(secret, shared), http.StatusTooManyRequests, "too_many_attempts")
}

// Signing in again ends the former session of the browser.
func TestSignInAgain(t *testing.T) {
	t.Parallel()
	secret, token := access.NewToken("ann", access.Operate)
	s := newSite(access.Config{Tokens: []access.Token{token}})
	_, former := s.signIn(secret, "127.0.0.1:1")
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:8081/sign-in", strings.NewReader(url.Values{"token": {secret}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.RemoteAddr = "127.0.0.1:1"
	cookies := s.do(withCookie(r, former)).Cookies()
	if len(cookies) != 1 || cookies[0].Value == former.Value {
		t.Fatalf("cookies %v", cookies)
	}
	s.want(t, withCookie(request(http.MethodGet, "/"), cookies[0]), http.StatusOK, "ann")
	s.want(t, withCookie(request(http.MethodGet, "/"), former), http.StatusUnauthorized, "not_signed_in")
	s.want(t, withCookie(request(http.MethodGet, "/"), &http.Cookie{Name: former.Name, Value: "chosen-by-someone-else"}), http.StatusUnauthorized, "not_signed_in")
}

// signIns returns the count of sign-ins with this result.
func signIns(t *testing.T, registry *prometheus.Registry, result string) (n float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "lumin_admin_sign_ins_total" && m.GetLabel()[0].GetValue() == result {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}
