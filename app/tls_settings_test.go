//go:build unix

package app

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/sample"
	"lumin-ingest/internal/testcert"
	"lumin-ingest/lumin"
)

// Files that are no pair are refused, and the error shows no part of the key.
func TestTLSSettings(t *testing.T) {
	t.Parallel()
	pair, other := testcert.New(t, time.Now().Add(time.Hour)), testcert.New(t, time.Now().Add(time.Hour))
	keyText := string(bytes.Split(pair.Key, []byte("\n"))[1])
	for name, test := range map[string]struct{ cert, key, want string }{
		"a pair":             {string(pair.Cert), string(pair.Key), ""},
		"a chain":            {string(pair.Cert) + string(other.Cert), string(pair.Key), ""},
		"both in each file":  {string(pair.Key) + string(pair.Cert), string(pair.Key) + string(pair.Cert), ""},
		"another key":        {string(pair.Cert), string(other.Key), "private key does not match public key"},
		"the chain in front": {string(other.Cert) + string(pair.Cert), string(pair.Key), "private key does not match public key"},
		"exchanged":          {string(pair.Key), string(pair.Cert), "PEM"},
		"a key cut off":      {string(pair.Cert), string(pair.Key[:len(pair.Key)/2]), "PEM"},
		"a damaged key":      {string(pair.Cert), strings.Replace(string(pair.Key), keyText[:8], "AAAAAAAA", 1), "parse private key"},
		"an empty file":      {"", string(pair.Key), "PEM"},
		"a large file":       {string(pair.Cert) + strings.Repeat(" ", maxSecretFile), string(pair.Key), "has more than"},
	} {
		folder := t.TempDir()
		cert, key := testcert.Pair{Cert: []byte(test.cert), Key: []byte(test.key)}.Write(t, folder)
		read, err := tlsSettings{TLSCertFile: cert, TLSKeyFile: key}.certificate()
		if err != nil {
			t.Fatal(err)
		}
		certificate, err := read()
		if test.want == "" {
			if err != nil || certificate.Leaf == nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, advice.ErrUsage) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), keyText[8:20]) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
	_, err := tlsSettings{TLSCertFile: "x", TLSKeyFile: filepath.Join(t.TempDir(), "absent")}.read()
	if !errors.Is(err, advice.ErrUsage) {
		t.Errorf("an absent file: %v", err)
	}
	cert, _ := pair.Write(t, t.TempDir())
	_, err = tlsSettings{TLSCertFile: cert, TLSKeyFile: string(pair.Key)}.read()
	if !errors.Is(err, advice.ErrUsage) || strings.Contains(err.Error(), keyText[8:20]) || !strings.Contains(err.Error(), "TLS_KEY_FILE: it holds a value") {
		t.Errorf("the key in place of its file: %v", err)
	}
	for _, one := range []tlsSettings{{TLSCertFile: "x"}, {TLSKeyFile: "x"}} {
		if _, err := one.certificate(); !errors.Is(err, advice.ErrUsage) {
			t.Errorf("%+v: %v", one, err)
		}
	}
	if read, err := (tlsSettings{}).certificate(); read != nil || err != nil {
		t.Errorf("without files: %v", err)
	}
}

// install writes a pair to a new folder, and swaps a symbolic link to it.
func install(t *testing.T, folder, version string, pair testcert.Pair) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(folder, version), 0o700); err != nil {
		t.Fatal(err)
	}
	pair.Write(t, filepath.Join(folder, version))
	if err := os.Symlink(version, filepath.Join(folder, "next")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(folder, "next"), filepath.Join(folder, "live")); err != nil {
		t.Fatal(err)
	}
}

// deliverTLS delivers an event to a host and port with this certificate.
func deliverTLS(t *testing.T, address string, trusted testcert.Pair) (int, error) {
	t.Helper()
	b := body(sample.Delivery{EventType: lumin.SignatureRequestSigned})
	request, err := http.NewRequest(http.MethodPost, "https://"+address+"/webhooks/account", bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set(lumin.SignatureHeader, lumin.Sign(b, accountKey))
	secure := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: testcert.Roots(t, trusted), ServerName: testcert.Name},
	}}
	response, err := secure.Do(request)
	if err != nil {
		return 0, err
	}
	response.Body.Close()
	return response.StatusCode, nil
}

// The real program with certificate files that change, as certbot and
// cert-manager change them.
func TestServeTLS(t *testing.T) {
	t.Parallel()
	pairs := []testcert.Pair{testcert.New(t, time.Now().Add(time.Hour)), testcert.New(t, time.Now().Add(30*24*time.Hour))}
	folder := t.TempDir()
	install(t, folder, "1", pairs[0])
	env := serveEnv(newDatabase(t), "TLS_CERT_FILE="+filepath.Join(folder, "live/tls.crt"), "TLS_KEY_FILE="+filepath.Join(folder, "live/tls.key"))
	p := startProgram(t, env, "serve")
	p.waitReady()
	address := strings.TrimPrefix(p.public(), "http://")
	want := func(trusted testcert.Pair) {
		t.Helper()
		if status, err := deliverTLS(t, address, trusted); status != 200 || err != nil {
			t.Errorf("answered %d, %v", status, err)
		}
	}
	want(pairs[0])
	if status, text := get("http://" + address + "/healthz"); status != 400 || !strings.Contains(text, "HTTPS") {
		t.Errorf("plain HTTP was answered %d %s", status, text)
	}
	if out := command(t, "health", "--address", strings.TrimPrefix(p.admin(), "http://")); out != "ready\n" {
		t.Errorf("health printed %q", out)
	}

	install(t, folder, "2", testcert.Pair{Cert: pairs[1].Cert, Key: pairs[0].Key})
	eventually(t, 20*time.Second, "the broken pair is logged", func() bool {
		line := p.stderr.logged("the files of the certificate cannot be reloaded; the previous ones stay in use")
		remedy, _ := line["remedy"].(string)
		return strings.Contains(remedy, "TLS_KEY_FILE the private key")
	})
	want(pairs[0])
	install(t, folder, "3", pairs[1])
	eventually(t, 20*time.Second, "the new certificate is used", func() bool {
		status, err := deliverTLS(t, address, pairs[1])
		return status == 200 && err == nil
	})
	p.signal(syscall.SIGTERM)
	if code := p.wait(20 * time.Second); code != 0 {
		t.Errorf("it ended with %d", code)
	}

	install(t, folder, "4", testcert.Pair{Cert: pairs[1].Cert, Key: pairs[0].Key})
	refused := startProgram(t, env, "serve")
	if code := refused.wait(20 * time.Second); code != 2 || !strings.Contains(refused.stderr.String(), "private key does not match public key\n  TLS_CERT_FILE must contain") {
		t.Errorf("a broken pair: it ended with %d", code)
	}
}
