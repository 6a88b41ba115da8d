package forward

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"lumin-ingest/lumin"
)

// Target is a receiver of forwarded events.
type Target struct {
	// Name identifies the target: 1 to 56 characters out of a-z, 0-9 and single
	// hyphens between them. Its runs have the kind forward_NAME.
	Name string

	// URL receives the events. It must be https, unless AllowNetworks contains
	// only private networks. It may have a query, but no user and no fragment.
	URL string

	// Secrets sign the requests. During a rotation, give both the old and the
	// new secret until the receiver knows the new one. Each secret is whsec_
	// followed by a Base64 key of 24 to 64 bytes, per Standard Webhooks.
	Secrets []string

	// Events lists the event types to forward. Empty means all.
	Events []lumin.EventType

	// AllowNetworks lists the only networks to which the job type connects. It
	// applies to the resolved address. Empty means all public addresses and no
	// others.
	AllowNetworks []netip.Prefix

	// RefuseRecovered leaves out recovered events. They have no signature of Lumin.
	RefuseRecovered bool
}

// namePattern matches names that form a valid kind and queue after forward_.
var namePattern = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// maxName leaves room for forward_ in the 64 characters of a queue.
const maxName = 56

// ValidName reports whether name is valid as the name of a target.
func ValidName(name string) bool {
	return len(name) <= maxName && namePattern.MatchString(name)
}

// checked validates the target and returns its parsed URL and its signers.
func (t Target) checked() (*url.URL, []*standardwebhooks.Webhook, error) {
	if !ValidName(t.Name) { // not quoted, because it may be a misplaced secret
		return nil, nil, fmt.Errorf("forward: the name of a target is not 1 to %d characters out of a-z, 0-9 and single hyphens between them", maxName)
	}
	u, err := t.address()
	if err != nil {
		return nil, nil, fmt.Errorf("forward to %s: the URL %w", t.Name, err)
	}
	signers, err := t.signers()
	if err != nil {
		return nil, nil, fmt.Errorf("forward to %s: %w", t.Name, err)
	}
	if slices.Contains(t.Events, "") {
		return nil, nil, fmt.Errorf("forward to %s: an event type is empty: remove it", t.Name)
	}
	return u, signers, nil
}

// address parses the URL. Errors do not quote it, because its query may contain
// a secret.
func (t Target) address() (*url.URL, error) {
	u, err := url.Parse(t.URL)
	if err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, errors.New("is invalid: write it as https://host/path")
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && ip.Zone() != "" {
		return nil, errors.New("has an address with a zone: use a host name instead")
	}
	switch _, err := portOf(u); {
	case err != nil:
		return nil, err
	case u.User != nil:
		return nil, errors.New("contains a user or password: remove them, because the signature authenticates the sender")
	case u.Fragment != "":
		return nil, errors.New("has a fragment, which is never sent: remove # and everything after it")
	}
	if err := t.checkNetworks(); err != nil {
		return nil, err
	}
	if u.Scheme == "http" && !t.onlyPrivate() {
		return nil, errors.New("is http, which is not encrypted: write https, or allow only private networks (AllowNetworks, FORWARD_ALLOW_NETWORKS)")
	}
	return u, nil
}

// portOf returns the port of a URL, or the default port of its scheme.
func portOf(u *url.URL) (int, error) {
	switch {
	case u.Port() != "":
		port, err := strconv.Atoi(u.Port())
		if err != nil || port < 1 || port > 65535 {
			return 0, errors.New("has an invalid port: give 1 to 65535")
		}
		return port, nil
	case u.Scheme == "http":
		return 80, nil
	default:
		return 443, nil
	}
}

func (t Target) checkNetworks() error {
	for _, network := range t.AllowNetworks {
		if !network.IsValid() || network.Addr().Is4In6() {
			return errors.New("has an invalid allowed network: write it as 10.1.0.0/16 or fd00:1::/32")
		}
	}
	return nil
}

// onlyPrivate reports whether every allowed network is private, and at least
// one is given.
func (t Target) onlyPrivate() bool {
	for _, network := range t.AllowNetworks {
		if !slices.ContainsFunc(privateNetworks(), func(p netip.Prefix) bool {
			return p.Bits() <= network.Bits() && p.Contains(network.Addr())
		}) {
			return false
		}
	}
	return len(t.AllowNetworks) > 0
}

// privateNetworks returns the networks that are not routed over the internet,
// per RFC 1918, 1122, 3927 and 6598 for IPv4, and RFC 4291 and 4193 for IPv6.
func privateNetworks() []netip.Prefix {
	var networks []netip.Prefix
	for _, network := range []string{
		"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "100.64.0.0/10",
		"::1/128", "fe80::/10", "fc00::/7",
	} {
		networks = append(networks, netip.MustParsePrefix(network))
	}
	return networks
}

// Standard Webhooks requires keys of 24 to 64 bytes.
const minKey, maxKey = 24, 64

// signers returns a signer for each secret. Repeated secrets count once.
func (t Target) signers() ([]*standardwebhooks.Webhook, error) {
	if len(t.Secrets) == 0 {
		return nil, errors.New("there is no secret to sign with: give one, whsec_ followed by 24 to 64 random bytes in Base64")
	}
	var signers []*standardwebhooks.Webhook
	for i, secret := range t.Secrets {
		if slices.Contains(t.Secrets[:i], secret) {
			continue
		}
		key, err := keyOf(secret)
		if err != nil {
			return nil, fmt.Errorf("secret %d of %d %w", i+1, len(t.Secrets), err)
		}
		signer, err := standardwebhooks.NewWebhookRaw(key)
		if err != nil {
			return nil, fmt.Errorf("secret %d of %d is not accepted", i+1, len(t.Secrets))
		}
		signers = append(signers, signer)
	}
	return signers, nil
}

// keyOf returns the key of a secret. It checks the length, because the
// library accepts any key, even an empty one.
func keyOf(secret string) ([]byte, error) {
	text, found := strings.CutPrefix(secret, "whsec_")
	if !found {
		return nil, errors.New("does not begin with whsec_: write it as whsec_BASE64")
	}
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") { // the decoder ignores line breaks
		return nil, errors.New("is not Base64 after whsec_: use A-Z, a-z, 0-9, + and /, padded with =")
	}
	if len(key) < minKey || len(key) > maxKey {
		return nil, fmt.Errorf("has a key of %d bytes: give %d to %d", len(key), minKey, maxKey)
	}
	return key, nil
}
