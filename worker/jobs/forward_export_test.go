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

// Trust makes certificates of these issuers good.
func (f *Forward) Trust(roots *x509.CertPool) *Forward {
	f.Transport().TLSClientConfig = &tls.Config{RootCAs: roots}
	return f
}

// Transport is what connections are made by.
func (f *Forward) Transport() *http.Transport { return f.client.Client.Transport.(*http.Transport) }

// PutOff is how long to wait by a Retry-After.
func PutOff(retryAfter string, now time.Time) time.Duration {
	return putOff(lumin.RetryAfter(retryAfter, now))
}
