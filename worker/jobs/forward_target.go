package jobs

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

// ForwardTarget is a receiver of forwarded events.
type ForwardTarget struct {
	// Name tells targets apart: 1 to 56 characters out of a-z, 0-9 and single hyphens
	// between them. Runs are kept under it, as kind forward_NAME.
	Name string

	// URL is posted to. It must be https, unless AllowNetworks holds none but private
	// networks. It may have a query, but no user and no fragment.
	URL string

	// Secrets sign what is forwarded; more than one while they are rotated, for as long
	// as the receiver may have either. Each is whsec_ with 24 to 64 bytes of key in
	// Base64 behind it, as Standard Webhooks has them.
	Secrets []string

	// Events are the event types that are forwarded; none means all.
	Events []lumin.EventType

	// AllowNetworks are the only networks that are connected to, whatever the host of
	// the URL resolves to. None means all public addresses and no others.
	AllowNetworks []netip.Prefix
}

// forwardName is a name that makes a kind and a queue when it follows forward_.
var forwardName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// maxForwardName leaves room for forward_ in the 64 characters of a queue.
const maxForwardName = 56

// ValidForwardName reports whether a target can have this name.
func ValidForwardName(name string) bool {
	return len(name) <= maxForwardName && forwardName.MatchString(name)
}

// checked is the URL of a target that can be forwarded to, with its signers.
func (t ForwardTarget) checked() (*url.URL, []*standardwebhooks.Webhook, error) {
	if !ValidForwardName(t.Name) { // and is not quoted: it may be something else
		return nil, nil, fmt.Errorf("forward: the name of a target is not 1 to %d characters out of a-z, 0-9 and single hyphens between them", maxForwardName)
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
		return nil, nil, fmt.Errorf("forward to %s: an event type is empty: take it out", t.Name)
	}
	return u, signers, nil
}

// address is the parsed URL. Errors do not quote it: its query may hold a secret.
func (t ForwardTarget) address() (*url.URL, error) {
	u, err := url.Parse(t.URL)
	if err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, errors.New("is none: write it as https://host/path")
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && ip.Zone() != "" {
		return nil, errors.New("has an address with a zone: name the host instead")
	}
	switch _, err := portOf(u); {
	case err != nil:
		return nil, err
	case u.User != nil:
		return nil, errors.New("holds a user or password: take them out, the receiver knows us by the signature")
	case u.Fragment != "":
		return nil, errors.New("has a fragment, which is never sent: take out # and what follows")
	}
	if err := t.checkNetworks(); err != nil {
		return nil, err
	}
	if u.Scheme == "http" && !t.inPrivate() {
		return nil, errors.New("is http, which anybody on the way can read: write https, or allow private networks only (AllowNetworks, FORWARD_ALLOW_NETWORKS)")
	}
	return u, nil
}

// portOf is the port that a URL leads to.
func portOf(u *url.URL) (int, error) {
	switch {
	case u.Port() != "":
		port, err := strconv.Atoi(u.Port())
		if err != nil || port < 1 || port > 65535 {
			return 0, errors.New("has no possible port: give 1 to 65535")
		}
		return port, nil
	case u.Scheme == "http":
		return 80, nil
	default:
		return 443, nil
	}
}

func (t ForwardTarget) checkNetworks() error {
	for _, network := range t.AllowNetworks {
		if !network.IsValid() || network.Addr().Is4In6() {
			return errors.New("has an allowed network that is none: write it as 10.1.0.0/16 or fd00:1::/32")
		}
	}
	return nil
}

// inPrivate reports whether no public address can be connected to.
func (t ForwardTarget) inPrivate() bool {
	for _, network := range t.AllowNetworks {
		if !slices.ContainsFunc(privateNetworks(), func(p netip.Prefix) bool {
			return p.Bits() <= network.Bits() && p.Contains(network.Addr())
		}) {
			return false
		}
	}
	return len(t.AllowNetworks) > 0
}

// privateNetworks are those that do not lead over the internet: RFC 1918, 1122, 3927
// and 6598; RFC 4291 and 4193.
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

// Standard Webhooks has keys of this many bytes.
const minForwardKey, maxForwardKey = 24, 64

// signers sign with each of the secrets, repeated ones once.
func (t ForwardTarget) signers() ([]*standardwebhooks.Webhook, error) {
	if len(t.Secrets) == 0 {
		return nil, errors.New("there is no secret, and nothing is forwarded unsigned: give one, whsec_ with 24 to 64 random bytes in Base64 behind it")
	}
	var signers []*standardwebhooks.Webhook
	for i, secret := range t.Secrets {
		if slices.Contains(t.Secrets[:i], secret) {
			continue
		}
		key, err := forwardKey(secret)
		if err != nil {
			return nil, fmt.Errorf("secret %d of %d %w", i+1, len(t.Secrets), err)
		}
		signer, err := standardwebhooks.NewWebhookRaw(key)
		if err != nil {
			return nil, fmt.Errorf("secret %d of %d is not taken", i+1, len(t.Secrets))
		}
		signers = append(signers, signer)
	}
	return signers, nil
}

// forwardKey is the key of a secret. The library would take any, even an empty one.
func forwardKey(secret string) ([]byte, error) {
	text, found := strings.CutPrefix(secret, "whsec_")
	if !found {
		return nil, errors.New("does not begin with whsec_: write it as whsec_BASE64")
	}
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") { // which the decoder passes over
		return nil, errors.New("is not Base64 behind whsec_: write A-Z, a-z, 0-9, + and /, filled up with =")
	}
	if len(key) < minForwardKey || len(key) > maxForwardKey {
		return nil, fmt.Errorf("has a key of %d bytes: give %d to %d", len(key), minForwardKey, maxForwardKey)
	}
	return key, nil
}
