//go:build unix

package app

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lumin-ingest/internal/sample"
	"lumin-ingest/lumin"
)

// keepAlive opens a connection on which the program waits for more requests.
func keepAlive(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	var answer strings.Builder
	for buffer := make([]byte, 1024); !strings.HasSuffix(answer.String(), "}\n"); {
		n, err := conn.Read(buffer)
		if err != nil {
			t.Fatalf("%q and then %v", answer.String(), err)
		}
		answer.Write(buffer[:n])
	}
	return conn
}

// After the signal, /readyz answers 503. During the delay, every delivery is
// still answered 200. No connection is reset, busy or idle.
func TestDrain(t *testing.T) {
	t.Parallel()
	const delay = 5 * time.Second
	url := newDatabase(t)
	p := startProgram(t, serveEnv(url, "DRAIN_DELAY="+delay.String()), "serve")
	p.waitReady()
	public, admin := p.public(), p.admin()
	idle := keepAlive(t, public)

	var (
		senders sync.WaitGroup
		ended   = make(chan struct{})
	)
	caller := &drainCaller{url: public + "/webhooks/account", client: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 10}, Timeout: 10 * time.Second,
	}}
	t.Cleanup(caller.client.CloseIdleConnections)
	for sender := range 4 {
		senders.Go(func() { caller.run(t, sender, ended) })
	}
	eventually(t, 30*time.Second, "some are answered", func() bool { return caller.answered.Load() > 50 })
	start, before := time.Now(), caller.answered.Load()
	p.signal(syscall.SIGTERM)
	eventually(t, delay, "/readyz answers 503", func() bool {
		status, why := get(admin + "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(why, "stopping")
	})
	eventually(t, delay, "most of the delay has passed", func() bool { return time.Since(start) > delay-2*time.Second })
	close(ended)
	senders.Wait()
	if during, closed := caller.answered.Load()-before, caller.closed.Load(); during == 0 || closed == 0 {
		t.Errorf("%d answered during the delay, %d of them closed their connection", during, closed)
	}
	if n, err := idle.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the idle connection ended with %d bytes and %v, want io.EOF", n, err)
	}
	if code := p.wait(20 * time.Second); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	if took := time.Since(start); took < delay {
		t.Errorf("it ended after %v, before the end of the delay of %v", took, delay)
	}
}

// drainCaller sends deliveries that must all be answered 200.
type drainCaller struct {
	url      string
	client   *http.Client
	answered atomic.Int64
	closed   atomic.Int64 // answers that close their connection
}

// run sends deliveries until ended is closed.
func (c *drainCaller) run(t *testing.T, sender int, ended <-chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-ended:
			return
		default:
		}
		b := body(sample.Delivery{EventType: lumin.SignatureRequestSigned, SignatureRequestID: fmt.Sprintf("drain-%d-%d", sender, n)})
		request, _ := http.NewRequest(http.MethodPost, c.url, strings.NewReader(string(b)))
		request.GetBody = nil // otherwise the client would hide a reset by trying again
		request.Header.Set(lumin.SignatureHeader, lumin.Sign(b, accountKey))
		response, err := c.client.Do(request)
		if err != nil {
			t.Errorf("a caller was not answered: %v", err)
			return
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("answered %d", response.StatusCode)
		}
		if response.Close {
			c.closed.Add(1)
		}
		c.answered.Add(1)
	}
}

// A second signal skips the delay, and the program still stops gracefully. A
// third signal ends it at once.
func TestSignalsDuringDrain(t *testing.T) {
	t.Parallel()
	p := startProgram(t, serveEnv(newDatabase(t), "DRAIN_DELAY=5m"), "serve")
	p.waitReady()
	halfDelivery(t, p.public(), body(sample.Delivery{EventType: lumin.SignatureRequestSigned}))
	p.signal(syscall.SIGTERM)
	eventually(t, 10*time.Second, "it drains", func() bool {
		return p.stderr.logged("no longer ready; still receiving during the drain delay") != nil
	})
	p.signal(syscall.SIGTERM)
	eventually(t, 10*time.Second, "it stops", func() bool { return p.stderr.logged("stopping") != nil })
	p.mustRun() // it waits for the half delivery
	p.signal(syscall.SIGTERM)
	p.wait(5 * time.Second)
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v", p.cmd.ProcessState)
	}
}

// There is no delay if no caller would benefit.
func TestNothingToDrain(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	for name, env := range map[string][]string{
		"a worker":             serveEnv(url, "DRAIN_DELAY=5m", "LUMIN_ROLE=worker"),
		"it never was ready":   serveEnv("postgres://somebody@127.0.0.1:1/lumin", "DRAIN_DELAY=5m"),
		"a delay of no length": serveEnv(url, "DRAIN_DELAY=0s"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startProgram(t, env, "serve")
			eventually(t, 30*time.Second, "it has begun to wait or to work", func() bool {
				p.mustRun()
				return p.stderr.logged("started") != nil || p.stderr.logged("waiting for the database") != nil
			})
			p.signal(syscall.SIGTERM)
			if code := p.wait(15 * time.Second); code != 0 {
				t.Errorf("it ended with %d", code)
			}
		})
	}
}
