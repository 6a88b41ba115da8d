// Package testcert makes self-signed certificates for tests.
//
//	pair := testcert.New(t, time.Now().Add(time.Hour))
//	config := &tls.Config{Certificates: []tls.Certificate{pair.Certificate(t)}}
//	client := &tls.Config{RootCAs: testcert.Roots(t, pair), ServerName: testcert.Name}
package testcert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Name is the host that every certificate is for, beside 127.0.0.1.
const Name = "hooks.example.com"

// Pair is a self-signed certificate and its key, as PEM.
type Pair struct{ Cert, Key []byte }

// New makes a pair that is valid from two hours ago until a time.
func New(tb testing.TB, until time.Time) Pair {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: Name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		DNSNames: []string{Name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA:        true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

// Certificate returns the pair as crypto/tls takes it.
func (p Pair) Certificate(tb testing.TB) tls.Certificate {
	tb.Helper()
	certificate, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		tb.Fatal(err)
	}
	return certificate
}

// Roots returns a pool with the certificates of pairs, for clients.
func Roots(tb testing.TB, pairs ...Pair) *x509.CertPool {
	tb.Helper()
	roots := x509.NewCertPool()
	for _, p := range pairs {
		if !roots.AppendCertsFromPEM(p.Cert) {
			tb.Fatal("no certificate")
		}
	}
	return roots
}

// Write writes the pair to the files tls.crt and tls.key of a folder, each by
// renaming another file.
func (p Pair) Write(tb testing.TB, folder string) (cert, key string) {
	tb.Helper()
	cert, key = filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key")
	for file, content := range map[string][]byte{cert: p.Cert, key: p.Key} {
		if err := os.WriteFile(file+".new", content, 0o600); err != nil {
			tb.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			tb.Fatal(err)
		}
	}
	return cert, key
}
