package app

import (
	"crypto/tls"
	"fmt"
	"strings"

	"lumin-ingest/internal/advice"
)

// tlsSettings name the certificate of the public listener.
type tlsSettings struct {
	TLSCertFile string `name:"tls-cert-file" env:"TLS_CERT_FILE" placeholder:"FILE" help:"PEM file with the certificate of the public listener, followed by its intermediate certificates. With it, the listener speaks HTTPS only. Read again when it changes."`
	TLSKeyFile  string `name:"tls-key-file" env:"TLS_KEY_FILE" placeholder:"FILE" help:"PEM file with the private key of the certificate, without a password."`
}

// certificate returns the function that reads the certificate; nil without one.
func (s tlsSettings) certificate() (func() (*tls.Certificate, error), error) {
	switch {
	case s.TLSCertFile == "" && s.TLSKeyFile == "":
		return nil, nil
	case s.TLSKeyFile == "":
		return nil, advice.Usage("TLS_CERT_FILE is set and TLS_KEY_FILE is not", "set TLS_KEY_FILE to the file of the private key; without both settings, the public listener speaks plain HTTP")
	case s.TLSCertFile == "":
		return nil, advice.Usage("TLS_KEY_FILE is set and TLS_CERT_FILE is not", "set TLS_CERT_FILE to the file of the certificate; without both settings, the public listener speaks plain HTTP")
	}
	return s.read, nil
}

func (s tlsSettings) read() (*tls.Certificate, error) {
	var pem [2]string
	for i, file := range [2]struct{ setting, path string }{{"TLS_CERT_FILE", s.TLSCertFile}, {"TLS_KEY_FILE", s.TLSKeyFile}} {
		text, err := readSecret(file.path)
		if err != nil {
			return nil, advice.Usage(fmt.Sprintf("%s: %v", file.setting, err), "name a plain file that this program may read")
		}
		pem[i] = text
	}
	pair, err := tls.X509KeyPair([]byte(pem[0]), []byte(pem[1]))
	if err != nil { // its text contains no part of the key
		return nil, advice.Usage("TLS_CERT_FILE and TLS_KEY_FILE: "+strings.TrimPrefix(err.Error(), "tls: "),
			"TLS_CERT_FILE must contain the certificate and then the intermediate ones, TLS_KEY_FILE the private key of the certificate, both as PEM without a password")
	}
	return &pair, nil
}
