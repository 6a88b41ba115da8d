package access

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// hostAllowed reports whether a host, as in a Host header, belongs to this program.
// The port does not matter.
//
// A page of another site can point a name that it owns to 127.0.0.1. The browser
// then sends requests of that page here, with that name as their Host.
func (g *Guard) hostAllowed(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(hostname(host), "."))
	if slices.Contains(g.hosts, host) {
		return true
	}
	if len(g.hosts) > 0 && !g.open() {
		return false
	}
	if !g.open() {
		return true // a session's cookie is bound to the host, and a token is not sent by browsers
	}
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// hostname returns the host of a Host header, without port and brackets.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

// forwarded reports whether a proxy has forwarded the request. Such a proxy makes
// every caller look local.
//
// A proxy that adds no header is recognized by what it cannot hide: the version of
// HTTP that nginx uses unless told otherwise, and the name under which the browser
// knows the page.
func (g *Guard) forwarded(r *http.Request) bool {
	for name := range r.Header {
		if slices.Contains([]string{"Forwarded", "Via", "X-Real-Ip", "X-Client-Ip", "X-Original-Host", "Cf-Connecting-Ip", "True-Client-Ip"}, name) ||
			strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "X-Auth-Request-") || strings.HasPrefix(name, "Tailscale-") {
			return true
		}
	}
	return !r.ProtoAtLeast(1, 1) || g.otherName(r)
}

// otherName reports whether the browser knows the page, which it says is of the same
// site, under a name that is not allowed.
func (g *Guard) otherName(r *http.Request) bool {
	if r.Header.Get("Sec-Fetch-Site") != "same-origin" {
		return false // the check for other sites decides
	}
	for _, name := range []string{"Origin", "Referer"} {
		if text := r.Header.Get(name); text != "" {
			u, err := url.Parse(text)
			if err != nil || !g.hostAllowed(u.Host) {
				return true
			}
		}
	}
	return false
}
