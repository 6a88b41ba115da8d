package ingest

import (
	"net"
	"net/netip"

	"github.com/labstack/echo/v4"
)

// callerAddress returns a function that finds the address of a caller. It uses
// only the part of X-Forwarded-For that trusted proxies wrote, because any
// caller can send that header. By default, Echo also trusts loopback,
// link-local and private addresses, so this is switched off.
func callerAddress(trusted []netip.Prefix) echo.IPExtractor {
	if len(trusted) == 0 {
		return echo.ExtractIPDirect()
	}
	options := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, prefix := range trusted {
		prefix = prefix.Masked()
		options = append(options, echo.TrustIPRange(&net.IPNet{
			IP:   prefix.Addr().AsSlice(),
			Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
		}))
	}
	return echo.ExtractIPFromXFFHeader(options...)
}
