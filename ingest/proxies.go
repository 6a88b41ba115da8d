package ingest

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

// callerAddress returns a function that finds the address of a caller. It uses
// only the part of X-Forwarded-For that trusted proxies wrote, because any
// caller can send that header.
func callerAddress(trusted []netip.Prefix) echo.IPExtractor {
	direct := echo.ExtractIPDirect()
	if len(trusted) == 0 {
		return direct
	}
	var networks []netip.Prefix
	for _, prefix := range trusted {
		networks = append(networks, prefix.Masked())
	}
	isProxy := func(caller netip.Addr) bool {
		return slices.ContainsFunc(networks, func(network netip.Prefix) bool { return network.Contains(caller) })
	}
	return func(r *http.Request) string {
		caller, ok := parseAddress(direct(r))
		if !ok {
			return direct(r)
		}
		hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
		for _, hop := range slices.Backward(hops) {
			if !isProxy(caller) {
				break
			}
			before, ok := parseAddress(hop)
			if !ok {
				break
			}
			caller = before
		}
		return caller.String()
	}
}

// parseAddress reads an address in a form that proxies write: alone, with a
// port, or in brackets. It drops the zone of an IPv6 address, which may be any
// text.
func parseAddress(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	withPort, err := netip.ParseAddrPort(text)
	address := withPort.Addr()
	if err != nil {
		if inner, found := strings.CutPrefix(text, "["); found {
			text, _ = strings.CutSuffix(inner, "]")
		}
		address, err = netip.ParseAddr(text)
	}
	return address.Unmap().WithZone(""), err == nil
}
