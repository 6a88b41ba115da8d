package service

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/sample"
	"lumin-ingest/internal/testcert"
	"lumin-ingest/internal/wait"
	"lumin-ingest/lumin"
)

// secureClient trusts the certificates of pairs. Each request has a connection
// of its own.
func secureClient(t *testing.T, pairs ...testcert.Pair) *http.Client {
	t.Helper()
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: testcert.Roots(t, pairs...), ServerName: testcert.Name},
	}}
}

// deliverTLS delivers an event and returns the status, and the certificate that
// was shown.
func (s *testService) deliverTLS(client *http.Client) (status int, shown []byte, err error) {
	body := sample.Delivery{EventType: lumin.SignatureRequestSigned, SignatureRequestID: sample.RandomHex(8)}.Body()
	request, err := http.NewRequest(http.MethodPost, "https://"+s.PublicAddr()+"/webhooks/account", bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set(lumin.SignatureHeader, lumin.Sign(body, accountKey))
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode, response.TLS.PeerCertificates[0].Raw, nil
}

// certificates is what ReadCertificate returns.
type certificates struct {
	mu   sync.Mutex
	pair *tls.Certificate
	err  error
}

func (c *certificates) set(pair tls.Certificate, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pair, c.err = &pair, err
}

func (c *certificates) read() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pair, c.err
}

// The certificate changes eight times during deliveries, and none fails. A
// broken pair in between changes nothing.
func TestCertificateRotatesUnderTraffic(t *testing.T) {
	t.Parallel()
	pairs := []testcert.Pair{testcert.New(t, time.Now().Add(24*time.Hour)), testcert.New(t, time.Now().Add(90*24*time.Hour))}
	var files certificates
	files.set(pairs[0].Certificate(t), nil)
	s := startService(t, pgtest.New(t), func(cfg *Config) {
		cfg.ReadCertificate, cfg.SourcesPoll = files.read, time.Millisecond
	})
	s.waitReady(t)
	client := secureClient(t, pairs...)
	shows := func(pair testcert.Pair) func() bool {
		want := pair.Certificate(t).Certificate[0]
		return func() bool {
			_, shown, err := s.deliverTLS(client)
			return err == nil && bytes.Equal(shown, want)
		}
	}

	ended, delivered := make(chan struct{}), atomic.Int32{}
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				if status, _, err := s.deliverTLS(client); status != http.StatusOK {
					t.Errorf("answered %d, %v", status, err)
				}
				delivered.Add(1)
			}
		})
	}
	for i := range 8 {
		if i%4 == 0 {
			files.set(tls.Certificate{}, errors.New("broken"))
			wait.Until(t, "the broken one is logged", func() bool {
				return strings.Count(s.log.String(), "cannot be reloaded") == i/4+1
			})
		}
		pair := pairs[(i+1)%2]
		files.set(pair.Certificate(t), nil)
		wait.Until(t, "the new certificate is shown", shows(pair))
	}
	close(ended)
	senders.Wait()
	if delivered.Load() < 20 {
		t.Errorf("only %d deliveries", delivered.Load())
	}
	if got := strings.Count(s.log.String(), `"msg":"the certificate of the public listener has changed"`); got != 8 {
		t.Errorf("%d changes are logged", got)
	}
}

// A certificate that has expired, or soon will, is used with a warning.
func TestCertificateWarnings(t *testing.T) {
	t.Parallel()
	var files certificates
	files.set(testcert.New(t, time.Now().Add(-time.Hour)).Certificate(t), nil)
	s := startService(t, pgtest.New(t), func(cfg *Config) {
		cfg.ReadCertificate, cfg.SourcesPoll = files.read, time.Millisecond
	})
	s.waitReady(t)
	read := func(path string) string {
		response, err := http.Get("http://" + s.AdminAddr() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		return string(text)
	}
	if ready := read("/readyz"); !strings.Contains(ready, "TLS_CERT_FILE expired at") || !strings.Contains(ready, `"status":"ready"`) {
		t.Error(ready)
	}
	if s.log.First("the certificate of the public listener") == nil || !strings.Contains(s.log.String(), "expired at") {
		t.Error("the log does not tell")
	}
	for _, test := range []struct {
		left time.Duration
		want string
	}{{time.Hour, "TLS_CERT_FILE expires at"}, {renewBefore + time.Hour, ""}} {
		files.set(testcert.New(t, time.Now().Add(test.left)).Certificate(t), nil)
		wait.Until(t, "the warning changes", func() bool {
			warnings := s.warnings()
			return test.want == "" && len(warnings) == 0 || len(warnings) == 1 && strings.Contains(warnings[0], test.want)
		})
	}
	// The log warns of a certificate in use too.
	late := testcert.New(t, time.Now().Add(renewBefore+2*time.Second)).Certificate(t)
	files.set(late, nil)
	told := func() int {
		return strings.Count(s.log.String(), "TLS_CERT_FILE expires at "+late.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	wait.Until(t, "the log warns when the certificate has a week left", func() bool { return told() > 0 })
	metric := read("/metrics")
	if _, line, _ := strings.Cut(metric, "\nlumin_tls_certificate_expiry_timestamp_seconds "); !strings.HasPrefix(line, "1.") {
		t.Error("no metric of the expiry")
	}
	if n := told(); n != 1 {
		t.Errorf("warned %d times", n)
	}
}
