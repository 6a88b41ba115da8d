package app

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/docker/go-units"

	"lumin-ingest/ingest"
)

// callerSettings bound the memory that callers of the public listener may use,
// and name the proxies that report their addresses.
type callerSettings struct {
	MaxBodyMemory  string `env:"MAX_BODY_MEMORY" default:"64MiB" placeholder:"SIZE" help:"Memory for all bodies that are being received. When it is used up, large bodies are answered 503. The first 16 KiB of each body are not counted."`
	TrustedProxies string `env:"TRUSTED_PROXIES" placeholder:"CIDR,..." help:"Networks of your own proxies. The log takes the caller's address from X-Forwarded-For only if one of them sent it."`
}

// callerLimits are the parsed callerSettings.
type callerLimits struct {
	bodyMemory     int64 // bytes; 0: the default
	trustedProxies []netip.Prefix
}

func (s callerSettings) limits() (limits callerLimits, err error) {
	if size := strings.TrimSpace(s.MaxBodyMemory); size != "" {
		limits.bodyMemory, err = units.RAMInBytes(size)
		if err != nil || limits.bodyMemory < ingest.MinBodyMemory {
			return limits, usage(fmt.Sprintf("MAX_BODY_MEMORY is %q", size),
				"write a size such as 64MiB or 1GiB, of at least %s", units.BytesSize(ingest.MinBodyMemory))
		}
	}
	if strings.TrimSpace(s.TrustedProxies) == "" {
		return limits, nil
	}
	for i, entry := range entries(s.TrustedProxies) {
		prefix, err := parseNetwork(entry)
		if err != nil {
			return limits, usage(fmt.Sprintf("TRUSTED_PROXIES: entry %d, %q, is not a network", i+1, entry), "%s", networkForm)
		}
		limits.trustedProxies = append(limits.trustedProxies, prefix)
	}
	return limits, nil
}

// networkForm is the advice about an invalid network.
const networkForm = "write a network such as 10.1.0.0/16 or fd00:1::/32, with only zeros after the prefix, and a single address such as 10.1.2.3/32"

// parseNetwork refuses networks that can be read in two ways.
func parseNetwork(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if err == nil && (prefix.Addr().Is4In6() || prefix != prefix.Masked()) {
		err = fmt.Errorf("%s is ambiguous", text)
	}
	return prefix, err
}
