package jobs

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"time"

	"lumin-ingest/lumin"
)

// At sets the clock.
func (f *Forward) At(now time.Time) *Forward {
	f.now = func() time.Time { return now }
	return f
}

// Trust makes f accept certificates of these issuers.
func (f *Forward) Trust(roots *x509.CertPool) *Forward {
	f.Transport().TLSClientConfig = &tls.Config{RootCAs: roots}
	return f
}

// Transport returns the transport that makes the connections.
func (f *Forward) Transport() *http.Transport { return f.client.Client.Transport.(*http.Transport) }

// SnoozeFor returns how long a job is snoozed for a Retry-After header.
func SnoozeFor(retryAfter string, now time.Time) time.Duration {
	return snoozeFor(lumin.RetryAfter(retryAfter, now))
}
