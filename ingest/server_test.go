package ingest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// waitLimit is how long a test waits for something that should happen
// immediately.
const waitLimit = 10 * time.Second

// serve runs NewServer on a free port, with the timeouts changed as given.
func serve(t *testing.T, r *rig, change func(*http.Server)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, r, change, listener)
}

func serveOn(t *testing.T, r *rig, change func(*http.Server), listener net.Listener) (address string) {
	t.Helper()
	server := NewServer(r)
	change(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != http.ErrServerClosed {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// dial sends text and returns the connection to read from.
func dial(t *testing.T, address, text string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(waitLimit)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

func readResponse(t *testing.T, conn net.Conn) *http.Response {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}

func defaultTimeouts(*http.Server) {}

// A caller need not send a body that will not be read.
func TestAnswersBeforeTheBody(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, path, headers string
		status              int
		code                string
	}{
		{"too large", "/webhooks/account", "Content-Length: 1048577\r\n", 413, "body_too_large"},
		{"too large, waiting for 100", "/webhooks/account", "Content-Length: 1048577\r\nExpect: 100-continue\r\n", 413, "body_too_large"},
		{"encoded", "/webhooks/account", "Content-Length: 205\r\nContent-Encoding: gzip\r\n", 415, "unsupported_content_encoding"},
		{"encoded and chunked", "/webhooks/account", "Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n", 415, "unsupported_content_encoding"},
		{"unknown source", "/webhooks/apps/other", "Content-Length: 205\r\n", 404, "unknown_source"},
		{"unknown path", "/", "Content-Length: 205\r\n", 404, "not_found"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			address := serve(t, r, defaultTimeouts)
			conn := dial(t, address, "POST "+test.path+" HTTP/1.1\r\nHost: x\r\nX-Signature: "+accountSignature+"\r\n"+test.headers+"\r\n")
			start := time.Now()
			response := readResponse(t, conn)
			wantProblem(t, response, test.status, test.code)
			if !response.Close {
				t.Error("the connection stays open in the middle of a request")
			}
			if took := time.Since(start); took > readTimeout/2 {
				t.Errorf("answered only after %v", took)
			}
			if r.deliveries() != nil {
				t.Error("recorded")
			}
		})
	}
}

func TestChunkedBodies(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		size int
		want int
	}{{205, 200}, {1 << 20, 200}, {1<<20 + 1, 413}} {
		t.Run(fmt.Sprint(test.size), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			address := serve(t, r, defaultTimeouts)
			body := bodyOfSize(test.size)
			conn := dial(t, address, "POST /webhooks/account HTTP/1.1\r\nHost: x\r\nX-Signature: "+lumin.Sign([]byte(body), accountKey)+
				"\r\nTransfer-Encoding: chunked\r\n\r\n")
			for rest := body; rest != ""; {
				chunk := rest[:min(len(rest), 100_000)]
				rest = rest[len(chunk):]
				if _, err := fmt.Fprintf(conn, "%x\r\n%s\r\n", len(chunk), chunk); err != nil {
					t.Fatal(err)
				}
			}
			if test.want == http.StatusOK {
				if _, err := io.WriteString(conn, "0\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
			} // otherwise the server answers before the end of the body
			response := readResponse(t, conn)
			if response.StatusCode != test.want {
				t.Errorf("status %d, want %d", response.StatusCode, test.want)
			}
			if recorded := len(r.deliveries()); (recorded == 1) != (test.want == http.StatusOK) {
				t.Errorf("recorded %d", recorded)
			}
		})
	}
}

func TestIncompleteBodies(t *testing.T) {
	t.Parallel()
	const start = "POST /webhooks/account HTTP/1.1\r\nHost: x\r\nX-Signature: " + accountSignature + "\r\n"
	for _, test := range []struct{ name, rest string }{
		{"shorter than announced", "Content-Length: 205\r\n\r\n" + documentedBody[:204]},
		{"nothing of what was announced", "Content-Length: 205\r\n\r\n"},
		{"a chunk cut off", "Transfer-Encoding: chunked\r\n\r\ncd\r\n" + documentedBody[:100]},
		{"all chunks but the last", "Transfer-Encoding: chunked\r\n\r\ncd\r\n" + documentedBody + "\r\n"},
		{"not a chunk", "Transfer-Encoding: chunked\r\n\r\nxyz\r\n" + documentedBody + "\r\n0\r\n\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			conn := dial(t, serve(t, r, defaultTimeouts), start+test.rest)
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			wantProblem(t, readResponse(t, conn), 400, "body_incomplete")
			if r.deliveries() != nil {
				t.Error("recorded")
			}
		})
	}
	for _, test := range []struct{ name, rest string }{
		{"slow", "Content-Length: 205\r\n\r\n" + documentedBody[:204]},
		{"slow and chunked", "Transfer-Encoding: chunked\r\n\r\ncd\r\n" + documentedBody + "\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			address := serve(t, r, func(s *http.Server) { s.ReadTimeout = 200 * time.Millisecond })
			wantProblem(t, readResponse(t, dial(t, address, start+test.rest)), 408, "body_timeout")
			if r.deliveries() != nil {
				t.Error("recorded")
			}
		})
	}
}

// A caller that sends its header too slowly is disconnected.
func TestSlowHeader(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	address := serve(t, r, func(s *http.Server) { s.ReadHeaderTimeout = 100 * time.Millisecond })
	conn := dial(t, address, "POST /webhooks/account HTTP/1.1\r\nHost: x\r\nX-Sig")
	answer, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("not cut off: %v", err)
	}
	if strings.Contains(string(answer), "200") || r.output.String() != "" {
		t.Errorf("answered %q, logged %s", answer, r.output)
	}
}

func TestIdleConnection(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	address := serve(t, r, func(s *http.Server) { s.IdleTimeout = 100 * time.Millisecond })
	conn := dial(t, address, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	if answer, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200") {
		t.Errorf("%q, %v", answer, err)
	}
}

func TestLargeHeader(t *testing.T) {
	t.Parallel()
	address := serve(t, newRig(t), defaultTimeouts)
	conn := dial(t, address, "POST /webhooks/account HTTP/1.1\r\nHost: x\r\nX-Signature: "+strings.Repeat("0", 2*maxHeaderBytes)+"\r\n\r\n")
	if response := readResponse(t, conn); response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", response.StatusCode)
	}
}

// By default, net/http answers this request itself.
func TestOptionsAsterisk(t *testing.T) {
	t.Parallel()
	conn := dial(t, serve(t, newRig(t), defaultTimeouts), "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
	wantProblem(t, readResponse(t, conn), 404, "not_found")
}

// One connection serves several deliveries in turn, including refused ones.
func TestConnectionIsReused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	head := "POST /webhooks/account HTTP/1.1\r\nHost: x\r\nContent-Length: 205\r\nX-Signature: "
	conn := dial(t, serve(t, r, defaultTimeouts), head+accountSignature+"\r\n\r\n"+documentedBody+head+appSignature+"\r\n\r\n"+documentedBody+
		head+accountSignature+"\r\n\r\n"+documentedBody)
	reader := bufio.NewReader(conn)
	for _, want := range []int{200, 401, 200} {
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != want {
			t.Errorf("status %d, want %d", response.StatusCode, want)
		}
	}
}

// A log that blocks does not delay any response.
func TestAnswerBeforeLog(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		signature string
		record    func(context.Context, store.Delivery) (store.Receipt, error)
		status    int
	}{
		"recorded":   {accountSignature, nil, 200},
		"a mismatch": {appSignature, nil, 401},
		"not recorded": {accountSignature, func(context.Context, store.Delivery) (store.Receipt, error) {
			return store.Receipt{}, store.ErrUnavailable
		}, 503},
		"a panic": {accountSignature, func(context.Context, store.Delivery) (store.Receipt, error) { panic("boom") }, 500},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			release := make(chan struct{})
			stuck := writerFunc(func(p []byte) (int, error) { <-release; return len(p), nil })
			r := newRig(t, func(cfg *Config) { cfg.Logger = slog.New(slog.NewTextHandler(stuck, nil)) })
			r.record = test.record
			address := serve(t, r, defaultTimeouts)
			t.Cleanup(func() { close(release) }) // before the server is shut down
			conn := dial(t, address, "POST /webhooks/account HTTP/1.1\r\nHost: x\r\nContent-Length: 205\r\nX-Signature: "+test.signature+"\r\n\r\n"+documentedBody)
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != test.status || !json.Valid(body) {
				t.Errorf("answered %d %s, %v, want %d", response.StatusCode, body, err, test.status)
			}
		})
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// The server notices a real disconnection while Record is running.
func TestDisconnectWhileRecording(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	started, release, recording := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	r.record = func(ctx context.Context, _ store.Delivery) (store.Receipt, error) {
		close(started)
		<-release
		recording <- ctx.Err()
		return store.Receipt{EventID: 17, Status: store.Recorded}, nil
	}
	hungUp := make(chan struct{})
	noticing := http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		context.AfterFunc(request.Context(), func() { close(hungUp) })
		r.ServeHTTP(w, request)
	})
	address := serve(t, r, func(s *http.Server) { s.Handler = noticing })
	conn := dial(t, address, "POST /webhooks/account HTTP/1.1\r\nHost: x\r\nContent-Length: 205\r\nX-Signature: "+accountSignature+"\r\n\r\n"+documentedBody)
	<-started
	conn.Close()
	<-hungUp
	close(release)
	if err := <-recording; err != nil {
		t.Errorf("the recording was cancelled: %v", err)
	}
}

func TestServerLimits(t *testing.T) {
	t.Parallel()
	server := NewServer(http.NotFoundHandler())
	for name, limit := range map[string]time.Duration{
		"ReadHeaderTimeout": server.ReadHeaderTimeout, "ReadTimeout": server.ReadTimeout,
		"WriteTimeout": server.WriteTimeout, "IdleTimeout": server.IdleTimeout,
	} {
		if limit <= 0 {
			t.Errorf("%s is not set", name)
		}
	}
	if server.MaxHeaderBytes <= 0 {
		t.Error("MaxHeaderBytes is not set")
	}
	if lumin := 30 * time.Second; server.ReadTimeout+recordTimeout >= lumin || server.WriteTimeout <= server.ReadTimeout+recordTimeout {
		t.Errorf("reading %v and recording %v do not fit into writing %v and Lumin's %v", server.ReadTimeout, recordTimeout, server.WriteTimeout, lumin)
	}
}
