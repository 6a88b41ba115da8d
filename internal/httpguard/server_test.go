package httpguard

import (
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lumin-ingest/internal/testcert"
)

// A server that does not tell where a request ends serves every request:
// without Attach, or with TLS around the guard.
func TestServersThatAreNotAttached(t *testing.T) {
	t.Parallel()
	pair := testcert.New(t, time.Now().Add(time.Hour))
	around := &tls.Config{Certificates: []tls.Certificate{pair.Certificate(t)}}
	for name, scheme := range map[string]string{"without Attach": "http", "with TLS around": "https"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var refused atomic.Int32
			raw, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			listener := New(raw, Config{MaxConns: 2, Refused: func(string) { refused.Add(1) }})
			server := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute}
			if scheme == "https" {
				Attach(server)
				listener = tls.NewListener(listener, around)
			}
			served := make(chan struct{})
			go func() { defer close(served); _ = server.Serve(listener) }()
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: testcert.Roots(t, pair), ServerName: testcert.Name}}
			client := &http.Client{Transport: transport, Timeout: waitLimit}
			for range 10 {
				response, err := client.Post(scheme+"://"+raw.Addr().String(), "text/plain", strings.NewReader(strings.Repeat("line\n", 20*maxLines)))
				if err != nil {
					t.Fatal(err)
				}
				response.Body.Close()
				if response.StatusCode != http.StatusNotFound {
					t.Fatalf("answered %d", response.StatusCode)
				}
			}
			transport.CloseIdleConnections()
			_ = server.Close()
			<-served
			if n := refused.Load(); n > 0 {
				t.Errorf("%d are counted as refused", n)
			}
		})
	}
}
