package service

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// renewBefore is when a certificate should have been renewed. ACME clients
// renew weeks earlier.
const renewBefore = 7 * 24 * time.Hour

// certificate is the certificate of the public listener, with its key.
type certificate struct {
	inUse  atomic.Pointer[tls.Certificate]
	warned string // the warning that was logged last
}

// newCertificate reads the certificate for the first time.
func (s *Service) newCertificate() error {
	pair, err := s.cfg.ReadCertificate()
	if err != nil {
		return err
	}
	s.certificate = &certificate{}
	s.useCertificate("the certificate of the public listener", pair)
	s.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "lumin_tls_certificate_expiry_timestamp_seconds",
		Help: "When the certificate of the public listener expires.",
	}, func() float64 { return float64(s.certificate.inUse.Load().Leaf.NotAfter.Unix()) }))
	return nil
}

func (s *Service) useCertificate(message string, pair *tls.Certificate) {
	s.certificate.inUse.Store(pair)
	s.cfg.Logger.Info(message, aboutCertificate(pair)...)
	s.warnOfCertificate()
}

// warnOfCertificate logs a warning that has not been logged yet.
func (s *Service) warnOfCertificate() {
	warning := s.certificate.warning(time.Now())
	if warning != "" && warning != s.certificate.warned {
		s.cfg.Logger.Warn(warning)
	}
	s.certificate.warned = warning
}

func aboutCertificate(pair *tls.Certificate) []any {
	return []any{"names", pair.Leaf.DNSNames, "expires", pair.Leaf.NotAfter}
}

// lookAtCertificate returns a function that starts to use new files of the
// certificate, and logs when the certificate in use comes close to its end.
func (s *Service) lookAtCertificate() func(ctx context.Context, asked bool) {
	look := s.watchCertificate().look
	return func(ctx context.Context, asked bool) {
		look(ctx, asked)
		s.warnOfCertificate()
	}
}

// watchCertificate compares the files of the certificate with the one in use.
func (s *Service) watchCertificate() *watch[*tls.Certificate] {
	return &watch[*tls.Certificate]{
		what: "files of the certificate", read: s.cfg.ReadCertificate, timeout: s.cfg.SourcesTimeout, logger: s.cfg.Logger,
		valid: s.certificate.inUse.Load(), about: aboutCertificate,
		same: func(a, b *tls.Certificate) bool {
			return bytes.Equal(bytes.Join(a.Certificate, nil), bytes.Join(b.Certificate, nil))
		},
		use: func(_ context.Context, pair *tls.Certificate) error {
			s.useCertificate("the certificate of the public listener has changed", pair)
			return nil
		},
	}
}

// listen returns a listener that offers TLS on l. The handshake is performed by
// the first read of each connection.
//
// HTTP/2 is not offered. One connection would carry many requests, and the
// bounds on memory are bounds on connections.
func (c *certificate) listen(l net.Listener) net.Listener {
	return tls.NewListener(l, &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.inUse.Load(), nil },
	})
}

// warning returns why callers may refuse the certificate, or will soon; "" if
// they should not.
func (c *certificate) warning(now time.Time) string {
	leaf := c.inUse.Load().Leaf
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Sprintf("the certificate in TLS_CERT_FILE expired at %s, so Lumin cannot deliver: renew it", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Sprintf("the certificate in TLS_CERT_FILE is not valid before %s, so Lumin cannot deliver: check the clock", leaf.NotBefore.UTC().Format(time.RFC3339))
	case now.Add(renewBefore).After(leaf.NotAfter):
		return fmt.Sprintf("the certificate in TLS_CERT_FILE expires at %s: renew it", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return ""
}
