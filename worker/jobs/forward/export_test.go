package forward

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"time"
)

// At sets the clock.
func (f *JobType) At(now time.Time) *JobType {
	f.now = func() time.Time { return now }
	return f
}

// Trust makes f accept certificates of these issuers.
func (f *JobType) Trust(roots *x509.CertPool) *JobType {
	f.Transport().TLSClientConfig = &tls.Config{RootCAs: roots}
	return f
}

// Transport returns the transport that makes the connections.
func (f *JobType) Transport() *http.Transport { return f.client.Client.Transport.(*http.Transport) }
