package ingest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"lumin-ingest/internal/wait"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// guarded serves r behind a guard of at most max connections.
func guarded(t *testing.T, r *rig, max int) (address string) {
	t.Helper()
	return guardedWith(t, r, max, defaultTimeouts)
}

func guardedWith(t *testing.T, r *rig, max int, change func(*http.Server)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, r, change, r.guard(listener, max))
}

// Requests that net/http refuses itself reach no handler, but are counted.
func TestRequestsRefusedByHTTP(t *testing.T) {
	t.Parallel()
	const head = "POST /webhooks/account HTTP/1.1\r\n"
	for _, test := range []struct{ name, request, status string }{
		{"not HTTP", "hello\r\n\r\n", "400"},
		{"TLS on a plain port", "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", "400"},
		{"no host", head + "\r\n", "400"},
		{"two lengths", head + "Host: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"},
		{"a space in a header name", head + "Host: x\r\nX Y: 1\r\n\r\n", "400"},
		{"a large header", head + "Host: x\r\nX-Signature: " + strings.Repeat("0", 2*maxHeaderBytes) + "\r\n\r\n", "431"},
		{"many lines", head + "Host: x\r\n" + strings.Repeat("a:\r\n", 100) + "\r\n", "431"},
		{"many lines in several reads", head + "Host: x\r\n" + strings.Repeat("a: "+strings.Repeat("x", 60)+"\r\n", 100) + "\r\n", "431"},
		{"an unknown transfer coding", head + "Host: x\r\nTransfer-Encoding: lzma\r\n\r\n", "501"},
		{"an unknown version", "POST /webhooks/account HTTP/3.0\r\nHost: x\r\n\r\n", "505"},
		{"an unknown expectation", head + "Host: x\r\nExpect: miracles\r\nContent-Length: 0\r\n\r\n", "417"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			closed := make(chan struct{}, 1)
			conn := dial(t, guardedWith(t, r, 10, func(s *http.Server) {
				track := s.ConnState
				s.ConnState = func(c net.Conn, state http.ConnState) {
					if track(c, state); state == http.StateClosed {
						closed <- struct{}{}
					}
				}
			}), test.request)
			if response := readResponse(t, conn); !strings.HasPrefix(response.Status, test.status) {
				t.Fatalf("status %s, want %s", response.Status, test.status)
			}
			if got := r.metric("lumin_http_refused_total", "status="+test.status); got != 1 {
				t.Errorf("counted %v", got)
			}
			conn.Close()
			<-closed
			all := 0.0
			for _, status := range r.series("lumin_http_refused_total") {
				all += status.GetCounter().GetValue()
			}
			if all != 1 {
				t.Errorf("counted %v with all statuses", all)
			}
			if r.output.String() != "" {
				t.Errorf("logged %s", r.output)
			}
		})
	}
	t.Run("after a delivery on the same connection", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		delivery := head + "Host: x\r\nContent-Length: 205\r\nX-Signature: " + accountSignature + "\r\n\r\n" + documentedBody
		refused := head + "Host: x\r\nContent-Length: 205\r\nX-Signature: " + appSignature + "\r\n\r\n" + documentedBody
		conn := dial(t, guarded(t, r, 10), delivery+refused+delivery+"hello\r\n\r\n")
		if _, err := io.ReadAll(conn); err != nil {
			t.Fatal(err)
		}
		if got := r.metric("lumin_http_refused_total", "status=400"); got != 1 || len(r.deliveries()) != 2 {
			t.Errorf("counted %v, recorded %d", got, len(r.deliveries()))
		}
	})
}

// An idle or waiting connection is closed to make room, with or without a
// request in progress.
func TestWaitingConnectionsAreReplaced(t *testing.T) {
	t.Parallel()
	const start = "POST /webhooks/account HTTP/1.1\r\nHost: x\r\nContent-Length: 205\r\n"
	for name, held := range map[string]string{
		"silent": "", "idle": "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
		"in the header": start + "X-Sig", "in the body": start + "\r\n" + documentedBody[:100],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			address := guarded(t, r, 3)
			var conns []net.Conn
			for range 3 {
				conns = append(conns, dial(t, address, held))
			}
			begun := time.Now()
			if status := postTo(t, address, documentedBody); status != 200 {
				t.Errorf("answered %d", status)
			}
			if took := time.Since(begun); took > readHeaderTimeout-time.Second {
				t.Errorf("only after %v", took)
			}
			closed := 0
			for _, conn := range conns {
				_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
				_, err := io.Copy(io.Discard, conn)
				if !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
					closed++
				}
			}
			if closed != 1 {
				t.Errorf("%d connections were closed for one", closed)
			}
			if name == "in the body" {
				wait.Until(t, "the log says why", func() bool {
					return strings.Contains(r.output.String(), `"code":"too_many_connections"`)
				})
			}
		})
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// The connection of a delivery that is being recorded is never closed for
// another one.
func TestRecordingKeepsItsConnection(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	recording, release := make(chan struct{}, 2), make(chan struct{})
	r.record = func(context.Context, store.Delivery) (store.Receipt, error) {
		recording <- struct{}{}
		<-release
		return store.Receipt{EventID: 17, Status: store.Recorded}, nil
	}
	address := guarded(t, r, 1)
	delivery := "POST /webhooks/account HTTP/1.1\r\nHost: x\r\nContent-Length: 205\r\nX-Signature: " + accountSignature + "\r\n\r\n" + documentedBody
	first := dial(t, address, delivery)
	<-recording
	second := dial(t, address, delivery)
	select {
	case <-recording:
		t.Error("there was room for two")
	case <-time.After(1200 * time.Millisecond): // longer than it takes to be replaced
	}
	close(release)
	if response := readResponse(t, first); response.StatusCode != 200 {
		t.Errorf("answered %d", response.StatusCode)
	}
	first.Close()
	if response := readResponse(t, second); response.StatusCode != 200 {
		t.Errorf("the second was answered %d", response.StatusCode)
	}
}

// A server stops even if a connection is waiting for room.
func TestStopWhileFull(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	release, recording := make(chan struct{}), make(chan struct{}, 1)
	r.record = func(context.Context, store.Delivery) (store.Receipt, error) {
		recording <- struct{}{}
		<-release
		return store.Receipt{EventID: 17, Status: store.Recorded}, nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := r.guard(listener, 1)
	server := NewServer(r)
	served := make(chan error, 1)
	go func() { served <- server.Serve(g) }()
	first := dial(t, listener.Addr().String(), "POST /webhooks/account HTTP/1.1\r\nHost: x\r\nContent-Length: 205\r\nX-Signature: "+
		lumin.Sign([]byte(documentedBody), accountKey)+"\r\n\r\n"+documentedBody)
	<-recording
	dial(t, listener.Addr().String(), "")
	stopped := make(chan error, 1)
	go func() { stopped <- server.Shutdown(context.Background()) }()
	select {
	case err := <-served:
		if err != http.ErrServerClosed {
			t.Error(err)
		}
	case <-time.After(waitLimit):
		t.Fatal("Serve has not returned")
	}
	close(release)
	if response := readResponse(t, first); response.StatusCode != 200 {
		t.Errorf("answered %d", response.StatusCode)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// Callers that send one cheap request after another leave no connection idle
// for long. Other callers still get a connection.
func TestBusyConnectionsAreReplaced(t *testing.T) {
	t.Parallel()
	const ask = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	address := guarded(t, newRig(t), 3)
	var callers sync.WaitGroup
	defer callers.Wait()
	for range 3 {
		conn := dial(t, address, ask)
		defer conn.Close()
		readResponse(t, conn) // so the connection has its place
		callers.Go(func() {
			for {
				if _, err := conn.Write([]byte(ask)); err != nil {
					return // closed
				}
				time.Sleep(50 * time.Millisecond) // the pace of the caller
			}
		})
	}
	begun := time.Now()
	if status := postTo(t, address, documentedBody); status != 200 {
		t.Errorf("answered %d", status)
	}
	if took := time.Since(begun); took > readHeaderTimeout-time.Second {
		t.Errorf("only after %v", took)
	}
}
