package jobs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/doyensec/safeurl"

	"lumin-ingest/worker"
)

const (
	forwardConnect = 10 * time.Second // to a host, with its name looked up; and once more for TLS
	forwardIdle    = 90 * time.Second // before an unused connection is closed
	forwardPing    = 10 * time.Second // of silence before HTTP/2 asks whether anybody is there
)

// errZone refuses an address such as fe80::1%eth0.
var errZone = errors.New("its host resolves to an address with a zone, which is not connected to: name one that does not")

// newForwardClient makes the client of one target. It checks each address that it is
// about to connect to, after the name has been resolved, so that a name cannot lead
// elsewhere than it did when it was checked. It uses no proxy and follows no redirect.
func newForwardClient(u *url.URL, networks []netip.Prefix) (*safeurl.WrappedClient, error) {
	port, err := portOf(u)
	if err != nil {
		return nil, err
	}
	config := safeurl.GetConfigBuilder().
		SetAllowedSchemes(u.Scheme).
		SetAllowedPorts(port).
		EnableIPv6(true).
		SetCheckRedirect(func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse })
	if len(networks) > 0 {
		config.SetAllowedIPsCIDR(texts(networks)...)
	} else {
		// Not public either: IPv4 within IPv6, local NAT64 (RFC 8215), the former site-local.
		config.SetBlockedIPsCIDR("::/96", "64:ff9b:1::/48", "fec0::/10")
	}
	client := safeurl.Client(config.Build())
	transport, ok := client.Client.Transport.(*http.Transport)
	if !ok {
		return nil, fmt.Errorf("the client has a transport of type %T", client.Client.Transport)
	}
	tune(transport)
	return client, nil
}

func texts(networks []netip.Prefix) []string {
	all := make([]string, 0, len(networks))
	for _, network := range networks {
		all = append(all, network.Masked().String())
	}
	return all
}

// tune has connections kept for as many workers as there usually are, and gives up
// on those that cannot be made.
func tune(t *http.Transport) {
	t.DialContext = dialZoneless(t.DialContext)
	t.TLSHandshakeTimeout = forwardConnect
	t.MaxIdleConns = worker.DefaultMaxWorkers
	t.MaxIdleConnsPerHost = worker.DefaultMaxWorkers
	t.IdleConnTimeout = forwardIdle
	t.MaxResponseHeaderBytes = 64 << 10
	t.DisableCompression = true // nobody reads the answers
	t.ForceAttemptHTTP2 = true
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: forwardPing, PingTimeout: forwardPing}
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// dialZoneless keeps addresses with a zone from a dialer whose check of them panics, in
// a goroutine of its own. Only the host's own tables and the local network give such
// addresses to a name, and DNS does not, so that a second look finds no others.
func dialZoneless(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, forwardConnect)
		defer cancel()
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		ips, err := net.DefaultResolver.LookupIPAddr(ctx, host) // LookupNetIP leaves out zones
		if err != nil {
			return nil, err
		}
		for _, ip := range ips {
			if ip.Zone != "" {
				return nil, errZone
			}
		}
		return dial(ctx, network, address)
	}
}

// refusedAddress is the address that must not be connected to, if err is about one.
func refusedAddress(err error) (string, bool) {
	var (
		refused *safeurl.AllowedIPError
		dialing *net.OpError
	)
	if !errors.As(err, &refused) {
		return "", false
	}
	if errors.As(err, &dialing) && dialing.Addr != nil {
		return dialing.Addr.String(), true
	}
	return "an address", true
}

// whyNoAnswer says in words that quote neither the URL nor what the receiver sent why
// there was no answer.
func whyNoAnswer(err error) string {
	var (
		operation   *net.OpError
		lookup      *net.DNSError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
	)
	switch {
	case errors.Is(err, errZone):
		return errZone.Error()
	case errors.As(err, &operation):
		return operation.Error()
	case errors.As(err, &lookup):
		return lookup.Error()
	case errors.As(err, &certificate):
		return certificate.Error()
	case errors.As(err, &record):
		return "it does not speak TLS"
	default:
		return "the connection ended, or brought what is not HTTP"
	}
}
