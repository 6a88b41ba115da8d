package httpguard

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lumin-ingest/internal/testcert"
)

// A request with a body that is being worked on is not cut off to make room, and one
// whose body does not arrive is.
func TestRequestsThatAreWorkedOnAreKept(t *testing.T) {
	t.Parallel()
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	worked, release := make(chan struct{}), make(chan struct{})
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			return
		}
		worked <- struct{}{}
		<-release
		_, _ = io.WriteString(w, "done")
	})}
	Attach(server)
	listener := New(raw, Config{MaxConns: 2}).(*listener)
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(listener) }()
	defer func() { _ = server.Close(); <-served }()
	send := func(request string) net.Conn {
		conn, err := net.Dial("tcp", raw.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if err := errors.Join(conn.SetDeadline(time.Now().Add(waitLimit)), second(io.WriteString(conn, request))); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	for _, whole := range []string{"Content-Length: 4\r\n\r\nbody", "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"} {
		kept := send("POST / HTTP/1.1\r\nHost: x\r\n" + whole)
		<-worked
		slow := send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo")
		third := send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		<-worked
		if _, err := io.ReadAll(slow); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q: the one whose body does not arrive stays open", whole)
		}
		release <- struct{}{}
		release <- struct{}{}
		for _, conn := range []net.Conn{kept, third} {
			if answer, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
				t.Errorf("%q: %v", whole, err)
			} else if answer.StatusCode != http.StatusOK {
				t.Errorf("%q: answered %d", whole, answer.StatusCode)
			}
			_ = conn.Close()
		}
	}
}

func second[T any](_ T, err error) error { return err }

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
