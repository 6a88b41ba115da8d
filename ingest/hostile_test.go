package ingest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lumin-ingest/internal/hostile"
	"lumin-ingest/internal/testcert"
)

// Each hostile request is answered or its connection is closed. Nothing is
// recorded that was not verified, and no request becomes two.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	pair := testcert.New(t, time.Now().Add(time.Hour))
	for _, c := range hostile.Requests(documentedBody, accountSignature) {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			testHostile(t, r, dial(t, guardedWith(t, r, 10, patient), ""), c)
		})
		t.Run(c.Name+", TLS", func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			conn := tls.Client(dial(t, guardedTLS(t, r, pair, patient), ""), &tls.Config{RootCAs: testcert.Roots(t, pair), ServerName: testcert.Name})
			if err := conn.Handshake(); err != nil {
				t.Fatal(err)
			}
			testHostile(t, r, conn, c)
		})
	}
}

// patient sets limits far longer than a test waits, so that only the request
// itself ends a connection.
func patient(s *http.Server) {
	s.ReadHeaderTimeout, s.ReadTimeout, s.WriteTimeout, s.IdleTimeout = time.Minute, time.Minute, time.Minute, time.Minute
}

// guardedTLS serves r with TLS.
func guardedTLS(t *testing.T, r *rig, pair testcert.Pair, change func(*http.Server)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair.Certificate(t)}}
	return serveOn(t, r, change, r.Guard(tls.NewListener(listener, config)))
}

// halfCloser is a connection with or without TLS.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

func reset(conn net.Conn) {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

func testHostile(t *testing.T, r *rig, conn halfCloser, c hostile.Case) {
	t.Helper()
	if _, err := io.WriteString(conn, c.Send); err != nil && len(c.Send) < 1<<10 {
		t.Errorf("send: %v", err)
	}
	switch c.Cut {
	case hostile.Wait:
	case hostile.HalfClose:
		_ = conn.CloseWrite()
	case hostile.Reset:
		reset(conn)
	case hostile.Close:
		conn.Close()
	}
	var statuses []int
	reader := bufio.NewReader(conn)
	for range c.Answers {
		status, err := readStatus(reader)
		if err != nil {
			t.Errorf("after %v: %v", statuses, err)
			break
		}
		statuses = append(statuses, status)
	}
	if !slices.Equal(statuses, c.Answers) {
		t.Errorf("answered %v, want %v", statuses, c.Answers)
	}
	switch {
	case c.Open:
		if _, err := io.WriteString(conn, hostile.Requests(documentedBody, accountSignature)[0].Send); err != nil {
			t.Error(err)
		}
		if status, err := readStatus(reader); status != 200 || err != nil {
			t.Errorf("the next request was answered %d, %v", status, err)
		}
		c.Recorded++
	case c.Cut == hostile.Wait || c.Cut == hostile.HalfClose:
		if rest, err := io.ReadAll(reader); len(rest) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the connection is not closed: %q, %v", rest, err)
		}
	}
	conn.Close()
	for _, d := range r.deliveries() {
		if string(d.Payload) != documentedBody {
			t.Errorf("recorded %q", d.Payload)
		}
	}
	if got := len(r.deliveries()); got != c.Recorded {
		t.Errorf("recorded %d, want %d", got, c.Recorded)
	}
}

// readStatus reads one answer. An answer without a length ends with its
// connection.
func readStatus(reader *bufio.Reader) (int, error) {
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); !errors.Is(err, syscall.ECONNRESET) {
		return response.StatusCode, err
	}
	return response.StatusCode, nil
}

// A request that never ends is refused after a bounded number of
// bytes.
func TestEndlessRequests(t *testing.T) {
	t.Parallel()
	const most = 16 << 20 // with what the kernel buffers
	for _, c := range hostile.EndlessRequests(accountSignature) {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			conn := dial(t, guardedWith(t, r, 10, patient), c.Start)
			again := []byte(strings.Repeat(c.Again, 1+4096/len(c.Again)))
			sent, sending := 0, make(chan struct{})
			go func() {
				defer close(sending)
				for sent < most {
					n, err := conn.Write(again)
					if sent += n; err != nil {
						return
					}
				}
			}()
			status, err := readStatus(bufio.NewReader(conn))
			if status != c.Answer || err != nil {
				t.Errorf("answered %d, %v, want %d", status, err, c.Answer)
			}
			<-sending
			if sent >= most {
				t.Errorf("cut off after %d bytes", sent)
			}
			if r.deliveries() != nil || r.metric("lumin_body_memory_bytes") != 0 {
				t.Error("recorded, or its memory is not released")
			}
		})
	}
}

// A caller that sends a byte now and then does not gain time.
func TestTrickle(t *testing.T) {
	t.Parallel()
	valid := hostile.Requests(documentedBody, accountSignature)[0].Send
	for name, c := range map[string]struct {
		start, want string
	}{
		"header": {"", "400"}, "body": {valid[:len(valid)-len(documentedBody)], "408"},
		"a second header": {valid, "200"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			address := serve(t, r, func(s *http.Server) {
				s.ReadHeaderTimeout, s.ReadTimeout, s.IdleTimeout = time.Second, 2*time.Second, time.Second
			})
			conn := dial(t, address, c.start)
			start, ended := time.Now(), make(chan string)
			go func() {
				answer, _ := io.ReadAll(conn)
				ended <- string(answer)
			}()
			rest := strings.Repeat("X", 500)
			for ticks := time.NewTicker(20 * time.Millisecond); ; {
				select {
				case answer := <-ended:
					ticks.Stop()
					if took := time.Since(start); took > waitLimit/2 || !strings.HasPrefix(strings.TrimPrefix(answer, "HTTP/1.1 "), c.want) {
						t.Errorf("after %v: %q", took, answer)
					}
					return
				case <-ticks.C:
					_, _ = io.WriteString(conn, rest[:1])
				}
			}
		})
	}
}

// A caller that reads no answer is disconnected after the time limit of writes.
func TestAnswersAreNotRead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	address := serve(t, r, func(s *http.Server) { s.WriteTimeout = 300 * time.Millisecond })
	conn := dial(t, address, "")
	// The answers fill several megabytes of buffers first.
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	ask := []byte(strings.Repeat("GET /unknown HTTP/1.1\r\nHost: x\r\n\r\n", 1000))
	for sent := 0; sent < 256<<20; sent += len(ask) {
		if _, err := conn.Write(ask); err != nil {
			if isTimeout(err) {
				t.Errorf("the connection is still open after %d bytes", sent)
			}
			return // closed
		}
	}
	t.Error("the program answers without end")
}
