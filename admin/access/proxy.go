package access

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"unicode"
)

// Proxies are proxies in front of the listener that sign users in, such as
// oauth2-proxy. The zero value trusts none.
type Proxies struct {
	// Trusted lists their networks. Only requests that come directly from one of
	// them may carry UserHeader, X-Forwarded-For and X-Forwarded-Proto. nil: none.
	Trusted []netip.Prefix

	// UserHeader names the header with the user, such as X-Forwarded-User. "": a
	// proxy signs no one in.
	UserHeader string

	// Roles has the role of each user. "*" stands for all others; without it they
	// have the role read.
	Roles map[string]Role
}

// direct returns the address that a connection comes from.
func direct(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}

func (p Proxies) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(p.Trusted, func(network netip.Prefix) bool { return network.Contains(addr) })
}

// address returns the caller's address. It uses only the part of X-Forwarded-For
// that trusted proxies wrote.
func (p Proxies) address(r *http.Request) string {
	caller := direct(r)
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !p.trusts(caller) {
			break
		}
		before, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		caller = before.Unmap().WithZone("")
	}
	if !caller.IsValid() {
		return ""
	}
	return caller.String()
}

// https reports whether the browser speaks HTTPS, to this program or to a trusted
// proxy.
func (p Proxies) https(r *http.Request) bool {
	return r.TLS != nil || p.trusts(direct(r)) && r.Header.Get("X-Forwarded-Proto") == "https"
}

// user returns the user that a trusted proxy has signed in. It refuses a header that
// occurs twice, because a proxy may have added its own to that of the caller.
func (p Proxies) user(r *http.Request) (name string, ok bool) {
	if p.UserHeader == "" || !p.trusts(direct(r)) {
		return "", false
	}
	values := r.Header.Values(p.UserHeader)
	if len(values) != 1 {
		return "", false
	}
	name = strings.TrimSpace(values[0])
	odd := func(c rune) bool { return !unicode.IsPrint(c) }
	if name == "" || len(name) > 200 || strings.ContainsFunc(name, odd) {
		return "", false
	}
	return name, true
}

// role returns the role of a user.
func (p Proxies) role(user string) Role {
	if role, ok := p.Roles[user]; ok && user != "*" {
		return role
	}
	if role, ok := p.Roles["*"]; ok {
		return role
	}
	return Read
}
