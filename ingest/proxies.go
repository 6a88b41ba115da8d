package ingest

import (
	"net"
	"net/netip"

	"github.com/labstack/echo/v4"
)

// callerAddress finds the address of a caller. X-Forwarded-For counts only as far
// as trusted proxies have written it: anybody else can send any such header. Echo
// would also trust loopback and private addresses unless that is switched off.
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
