package app

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/docker/go-units"

	"lumin-ingest/ingest"
	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/machine"
)

// callerSettings bound the memory that callers of the public listener may use,
// and name the proxies that report their addresses.
type callerSettings struct {
	MaxBodyMemory  string `env:"MAX_BODY_MEMORY" placeholder:"SIZE" help:"Memory for all bodies that are being received; 64MiB by default, or an eighth of the container's memory if that is less. When it is used up, large bodies are answered 503. The first 16 KiB of each body are not counted."`
	TrustedProxies string `env:"TRUSTED_PROXIES" placeholder:"CIDR,..." help:"Networks of your own proxies. The log takes the caller's address from X-Forwarded-For only if one of them sent it."`
}

// bodyMemoryOf returns the default of MAX_BODY_MEMORY in a container with this
// memory limit; 0 means no limit.
func bodyMemoryOf(limit int64) int64 {
	if limit == 0 {
		return ingest.DefaultBodyMemory
	}
	return min(max(limit/8, ingest.MinBodyMemory), ingest.DefaultBodyMemory)
}

// maxBodyMemory returns MAX_BODY_MEMORY in bytes.
func (s callerSettings) maxBodyMemory() (int64, error) {
	size := strings.TrimSpace(s.MaxBodyMemory)
	if size == "" {
		return bodyMemoryOf(machine.Memory()), nil
	}
	bytes, err := units.RAMInBytes(size)
	if err != nil || bytes < ingest.MinBodyMemory {
		return 0, advice.Usage(fmt.Sprintf("MAX_BODY_MEMORY is %q", size),
			"write a size such as 64MiB or 1GiB, of at least %s", units.BytesSize(ingest.MinBodyMemory))
	}
	return bytes, nil
}

func (s callerSettings) trustedProxies() ([]netip.Prefix, error) {
	return networksOf("TRUSTED_PROXIES", s.TrustedProxies)
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
