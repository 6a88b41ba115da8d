package pgproxy

import (
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// dialTimeout bounds how long a client waits for a server that does not answer.
const dialTimeout = 5 * time.Second

// Fault is what happens to a connection on which a COMMIT arrives.
type Fault int

const (
	// Pass forwards the COMMIT and its reply, as if nobody were there.
	Pass Fault = iota
	// DropRequest closes the connection and forwards nothing: not committed.
	DropRequest
	// DropReply forwards the COMMIT, waits until the server has answered it, and
	// closes the connection without forwarding the answer: committed.
	DropReply
	// BlackHole keeps the connection open and forwards nothing any more, in neither
	// direction: not committed, and nobody says so.
	BlackHole
)

// Proxy is a running proxy. Its methods may be called from several goroutines.
type Proxy struct {
	listener net.Listener
	url      string
	sessions sync.WaitGroup
	delay    atomic.Int64 // nanoseconds

	mu     sync.Mutex
	target string // host:port of the server
	fault  Fault
	left   int
	struck int
	open   map[*session]struct{}
	closed bool
}

// Start returns a proxy on a free port of 127.0.0.1 in front of the server that
// databaseURL names. The caller must Close it.
func Start(databaseURL string) (*Proxy, error) {
	address, err := url.Parse(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("start a proxy: the address of the database is not a URL")
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start a proxy: %w", err)
	}
	p := &Proxy{listener: listener, target: address.Host, open: map[*session]struct{}{}}
	address.Host = listener.Addr().String()
	query := address.Query()
	query.Set("sslmode", "disable")
	address.RawQuery = query.Encode()
	p.url = address.String()
	p.sessions.Go(p.accept)
	return p, nil
}

// URL is the address of the same database through the proxy.
func (p *Proxy) URL() string { return p.url }

// AtCommit has the next n COMMITs, whichever connections they arrive on, meet with
// the fault. Those after them pass. It replaces what an earlier call left.
func (p *Proxy) AtCommit(fault Fault, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.left = fault, n
}

// Struck is how many COMMITs have met with a fault so far. One whose reply is
// dropped counts once the server has answered it.
func (p *Proxy) Struck() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.struck
}

// SetTarget leads connections that are made from now on to another server. Open
// ones stay where they are.
func (p *Proxy) SetTarget(databaseURL string) error {
	address, err := url.Parse(databaseURL)
	if err != nil {
		return fmt.Errorf("set the target of a proxy: the address of the database is not a URL")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = address.Host
	return nil
}

// SetDelay holds every message back for this long, in both directions. Zero turns
// it off.
func (p *Proxy) SetDelay(delay time.Duration) { p.delay.Store(int64(delay)) }

// Cut ends all open connections. New ones are accepted.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.open {
		s.hangUp()
	}
}

// Silence lets nothing more through the open connections, in either direction, and
// keeps them open: each side sees a peer whose machine has vanished. Closing one
// side is not seen by the other. New connections are accepted.
func (p *Proxy) Silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.open {
		s.silent.Store(true)
	}
}

// CutSilent ends the connections that Silence has left, as a kernel does that gets
// no answer to its probes.
func (p *Proxy) CutSilent() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.open {
		if s.silent.Load() {
			s.hangUp()
		}
	}
}

// Close ends all connections and returns when nothing of the proxy runs any more.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	_ = p.listener.Close()
	for s := range p.open {
		s.hangUp()
	}
	p.mu.Unlock()
	p.sessions.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.sessions.Go(func() { p.serve(client) })
	}
}

// serve forwards between a client and a connection of its own to the server until
// either of them ends.
func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := net.DialTimeout("tcp", target, dialTimeout)
	if err != nil {
		return
	}
	defer server.Close()
	s := newSession(client, server, p)
	if !p.keep(s) {
		return
	}
	defer p.forget(s)

	if s.begin() != nil {
		return
	}
	var replies sync.WaitGroup
	replies.Go(func() {
		_ = s.forwardReplies()
		s.ended()
	})
	_ = s.forwardRequests()
	s.ended()
	replies.Wait()
}

// next takes what is to happen to the COMMIT that has just arrived.
func (p *Proxy) next() Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == 0 {
		return Pass
	}
	p.left--
	return p.fault
}

func (p *Proxy) count() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.struck++
}

func (p *Proxy) keep(s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[s] = struct{}{}
	return !p.closed
}

func (p *Proxy) forget(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, s)
}
