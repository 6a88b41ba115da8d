package httpguard

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// waitLimit is how long a test waits for something that should happen
// immediately.
const waitLimit = 10 * time.Second

// pipes is a listener whose connections do not buffer unread data.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) { return <-p, nil }
func (p pipes) Close() error              { return nil }
func (p pipes) Addr() net.Addr            { return &net.TCPAddr{} }

// listenerOfPipes returns a listener of at most one connection, with two waiting.
func listenerOfPipes(t *testing.T) *listener {
	t.Helper()
	accepts := make(pipes, 2)
	for range cap(accepts) {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { _ = theirs.Close() })
		accepts <- ours
	}
	return New(accepts, Config{MaxConns: 1}).(*listener)
}

// A connection whose caller does not read the response is also closed to make
// room.
func TestUnreadConnectionsAreReplaced(t *testing.T) {
	t.Parallel()
	g := listenerOfPipes(t)
	accepted, err := g.Accept()
	if err != nil {
		t.Fatal(err)
	}
	first := accepted.(*Conn)
	first.handled.Store(true)
	first.complete()
	written := make(chan error, 1)
	go func() {
		_, err := first.Write([]byte("HTTP/1.1 401 Unauthorized\r\n\r\n"))
		written <- err
	}()
	room := make(chan error, 1)
	go func() {
		_, err := g.Accept()
		room <- err
	}()
	select {
	case err := <-room:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(waitLimit):
		t.Fatal("no room was made")
	}
	if err := <-written; err == nil || !first.Evicted() {
		t.Errorf("written: %v; evicted: %t", err, first.Evicted())
	}
}

// A connection that had to wait for room is not closed immediately for the next
// one.
func TestNewConnectionsAreKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := listenerOfPipes(t)
		first, err := g.Accept()
		if err != nil {
			t.Fatal(err)
		}
		first.(*Conn).complete()
		time.AfterFunc(maxWaiting+10*roomPoll, func() { _ = first.Close() }) // as when it was recorded
		second, err := g.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if g.admit(newConn(g, nil)) || second.(*Conn).Evicted() {
			t.Error("it was closed as soon as it was accepted")
		}
	})
}
