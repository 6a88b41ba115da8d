package access

import (
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits of failed attempts to sign in. A person who mistypes a token never meets
// them. Our tokens cannot be guessed in any case; the limits keep the log readable, and
// slow down guesses of a token that a person has chosen.
const (
	attemptsOfAddress = 10 // at once; then one every six seconds
	attemptsOverall   = 200
	maxAddresses      = 4096
)

// attempts limits failed attempts, per address and overall.
type attempts struct {
	mu      sync.Mutex
	overall *rate.Limiter
	known   map[netip.Prefix]*address
}

// address is an address from which someone has tried to sign in.
type address struct {
	failures *rate.Limiter
	last     time.Time

	// good has the hashes of the tokens that have worked from here. The failures of
	// others do not lock the address out, and those of its neighbors behind the same
	// proxy do not lock these tokens out.
	good map[[sha256.Size]byte]bool
}

func newAttempts() *attempts {
	return &attempts{overall: rate.NewLimiter(5, attemptsOverall), known: map[netip.Prefix]*address{}}
}

// allowed reports whether an address may try a token now.
func (a *attempts) allowed(from string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.address(from, now).failures.TokensAt(now) >= 1
}

// failed counts a failed attempt, also one beyond the overall limit. It returns false
// for such a one, unless a token has worked from the address.
func (a *attempts) failed(from string, now time.Time) (within bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := a.address(from, now)
	at.failures.AllowN(now, 1)
	return a.overall.AllowN(now, 1) || len(at.good) > 0
}

// succeeded remembers that a token has worked from an address. Only tokens that are
// configured get here, so there are few.
func (a *attempts) succeeded(from string, token [sha256.Size]byte, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.address(from, now).good[token] = true
}

// worked reports whether a token has worked from an address before.
func (a *attempts) worked(from string, token [sha256.Size]byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok := a.known[networkOf(from)]
	return ok && at.good[token]
}

// address returns what is known about an address. If the table is full, another one is
// forgotten.
func (a *attempts) address(from string, now time.Time) *address {
	network := networkOf(from)
	at, ok := a.known[network]
	if !ok {
		if len(a.known) >= maxAddresses {
			a.forgetOldest()
		}
		at = &address{failures: rate.NewLimiter(rate.Every(6*time.Second), attemptsOfAddress), good: map[[sha256.Size]byte]bool{}}
		a.known[network] = at
	}
	at.last = now
	return at
}

// forgetOldest forgets an address. One from which a token has worked is kept as long
// as there is another: strangers have many addresses.
func (a *attempts) forgetOldest() {
	var (
		oldest netip.Prefix
		found  *address
	)
	for network, at := range a.known {
		strange, asStrange := len(at.good) == 0, found != nil && len(found.good) == 0
		if found == nil || strange && !asStrange || strange == asStrange && at.last.Before(found.last) {
			oldest, found = network, at
		}
	}
	delete(a.known, oldest)
}

// networkOf is the address itself, or the /64 of an IPv6 address, which one machine
// may use in full.
func networkOf(from string) netip.Prefix {
	addr, err := netip.ParseAddr(from)
	if err != nil {
		return netip.Prefix{} // all addresses that cannot be read count as one
	}
	bits := addr.BitLen()
	if addr.Is6() && !addr.Is4In6() {
		bits = 64
	}
	network, err := addr.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return network
}
