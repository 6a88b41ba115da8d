package forward

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
	connectTimeout = 10 * time.Second // limit for look-up and connecting; TLS has the same limit again
	idleTimeout    = 90 * time.Second // until an unused connection is closed
	pingTimeout    = 10 * time.Second // of silence until HTTP/2 sends a ping, and limit for its response
)

// errZone refuses an address such as fe80::1%eth0.
var errZone = errors.New("its host resolves to an address with a zone, which is not allowed: use another host")

// newClient makes the client of one target. It checks every address
// after resolving the name and before connecting, so a changed DNS answer
// cannot bypass the check. It uses no proxy and follows no redirect.
func newClient(u *url.URL, networks []netip.Prefix) (*safeurl.WrappedClient, error) {
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
		config.SetAllowedIPsCIDR(cidrs(networks)...)
	} else {
		// Not public, but unknown to the library: IPv4 in IPv6, local NAT64
		// (RFC 8215) and the former site-local addresses.
		config.SetBlockedIPsCIDR("::/96", "64:ff9b:1::/48", "fec0::/10")
	}
	client := safeurl.Client(config.Build())
	transport, ok := client.Client.Transport.(*http.Transport)
	if !ok {
		return nil, fmt.Errorf("the client has a transport of type %T", client.Client.Transport)
	}
	configure(transport)
	return client, nil
}

func cidrs(networks []netip.Prefix) []string {
	all := make([]string, 0, len(networks))
	for _, network := range networks {
		all = append(all, network.Masked().String())
	}
	return all
}

// configure keeps one idle connection per worker, for the default number of
// workers, and limits the time to connect.
func configure(t *http.Transport) {
	t.DialContext = dialWithoutZone(t.DialContext)
	t.TLSHandshakeTimeout = connectTimeout
	t.MaxIdleConns = worker.DefaultMaxWorkers
	t.MaxIdleConnsPerHost = worker.DefaultMaxWorkers
	t.IdleConnTimeout = idleTimeout
	t.MaxResponseHeaderBytes = 64 << 10
	t.DisableCompression = true // responses are not read
	t.ForceAttemptHTTP2 = true
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingTimeout, PingTimeout: pingTimeout}
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// dialWithoutZone refuses addresses with a zone before they reach dial, whose
// address check panics on them in its own goroutine. dial resolves the name
// again, which is safe: such addresses come from the hosts file and the local
// network, not from DNS.
func dialWithoutZone(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		ips, err := net.DefaultResolver.LookupIPAddr(ctx, host) // LookupNetIP drops zones
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

// refusedAddress returns the address that the check refused, if err is about
// one.
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

// describeNoAnswer explains why there was no response. It quotes neither the
// URL nor bytes from the receiver.
func describeNoAnswer(err error) string {
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
		return "the connection ended, or the receiver did not send HTTP"
	}
}
