package ingest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"lumin-ingest/internal/hostile"
	"lumin-ingest/internal/testcert"
	"lumin-ingest/internal/wait"
)

// startTLS performs the handshake of a client on a new connection.
func startTLS(t *testing.T, address string, config *tls.Config) (*tls.Conn, error) {
	t.Helper()
	conn := tls.Client(dial(t, address, ""), config)
	err := conn.Handshake()
	if err == nil && conn.ConnectionState().Version == tls.VersionTLS13 {
		// The server's verdict comes after the handshake of the client.
		_, err = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	return conn, err
}

// A caller that does not speak HTTPS, or does not accept the certificate, is
// refused and counted.
func TestFailedHandshakes(t *testing.T) {
	t.Parallel()
	pair := testcert.New(t, time.Now().Add(time.Hour))
	valid := hostile.Requests(documentedBody, accountSignature)[0].Send
	for _, test := range []struct{ name, send, want string }{
		{"plain HTTP", valid, "HTTP/1.1 400 Bad Request\r\n"},
		{"a long plain request", strings.Replace(valid, "Host", "X: "+strings.Repeat("x", 8<<10)+"\r\nHost", 1), "HTTP/1.1 400 Bad Request\r\n"},
		{"plain GET", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"},
		{"noise", "\x00\x01\x02\x03\x04\x05", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			conn := dial(t, guardedTLS(t, r, pair, defaultTimeouts), test.send)
			answer, err := io.ReadAll(conn)
			if err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Error(err)
			}
			if !strings.HasPrefix(string(answer), test.want) || test.want == "" && len(answer) > 0 {
				t.Errorf("answered %q, want %q", answer, test.want)
			}
			refused := 0.0
			if strings.HasPrefix(test.want, "HTTP") {
				refused = 1
			}
			if got := r.metric("lumin_http_refused_total", "status=400"); got != refused || r.metric("lumin_tls_handshakes_failed_total") != 1 {
				t.Errorf("refused %v, handshakes failed %v", got, r.metric("lumin_tls_handshakes_failed_total"))
			}
			if r.deliveries() != nil || r.output.String() != "" {
				t.Errorf("recorded, or logged %s", r.output)
			}
		})
	}
	t.Run("a certificate that is not trusted", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		if _, err := startTLS(t, guardedTLS(t, r, pair, defaultTimeouts), &tls.Config{ServerName: testcert.Name}); err == nil {
			t.Error("accepted")
		}
		wait.Until(t, "it is counted", func() bool { return r.metric("lumin_tls_handshakes_failed_total") == 1 })
	})
}

// A caller that connects and says nothing is closed after the time limit for
// headers, and delays no one.
func TestSilentHandshakes(t *testing.T) {
	t.Parallel()
	const limit = 2 * time.Second
	pair := testcert.New(t, time.Now().Add(time.Hour))
	r := newRig(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	secured := tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{pair.Certificate(t)}})
	address := serveOn(t, r, func(s *http.Server) { s.ReadHeaderTimeout = limit }, r.Guard(secured))
	start := time.Now()
	var silent []net.Conn
	for range 50 {
		silent = append(silent, dial(t, address, ""), dial(t, address, "\x16\x03\x01"))
	}
	if _, err := startTLS(t, address, &tls.Config{RootCAs: testcert.Roots(t, pair), ServerName: testcert.Name}); err != nil {
		t.Error(err)
	}
	for _, conn := range silent {
		if answer, err := io.ReadAll(conn); len(answer) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("%q, %v", answer, err)
		}
	}
	if took := time.Since(start); took < limit || took > limit+5*time.Second {
		t.Errorf("closed after %v", took)
	}
	if got := r.metric("lumin_tls_handshakes_failed_total"); got != 100 {
		t.Errorf("%v are counted", got)
	}
}

// With TLS too, the connection that waits for longest makes room, even if its
// caller takes no alert.
func TestConnectionsAreReplacedWithTLS(t *testing.T) {
	t.Parallel()
	pair := testcert.New(t, time.Now().Add(time.Hour))
	config := &tls.Config{RootCAs: testcert.Roots(t, pair), ServerName: testcert.Name}
	r := newRig(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	secured := tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{pair.Certificate(t)}})
	address := serveOn(t, r, defaultTimeouts, r.guard(secured, 2))
	for range 2 {
		if _, err := startTLS(t, address, config); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	if _, err := startTLS(t, address, config); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > readHeaderTimeout-time.Second {
		t.Errorf("only after %v", took)
	}
}

// Several deliveries on one connection, each in several records.
func TestDeliveriesWithTLS(t *testing.T) {
	t.Parallel()
	pair := testcert.New(t, time.Now().Add(time.Hour))
	r := newRig(t)
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: testcert.Roots(t, pair), ServerName: testcert.Name}, ForceAttemptHTTP2: true,
	}}
	defer client.CloseIdleConnections()
	address := guardedTLS(t, r, pair, defaultTimeouts)
	for range 3 {
		request, err := http.NewRequest(http.MethodPost, "https://"+address+"/webhooks/account", bytes.NewReader([]byte(documentedBody)))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Signature", accountSignature)
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if response.StatusCode != 200 || response.ProtoMajor != 1 {
			t.Errorf("answered %d with %s", response.StatusCode, response.Proto)
		}
	}
	if got := len(r.deliveries()); got != 3 || r.metric("lumin_tls_handshakes_failed_total") != 0 {
		t.Errorf("recorded %d", got)
	}
}
