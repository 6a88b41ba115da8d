package pgproxy

import (
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// dialTimeout limits how long a client waits for a server that does not answer.
const dialTimeout = 5 * time.Second

// Proxy is a running proxy. It is safe for concurrent use.
type Proxy struct {
	listener net.Listener
	url      string
	sessions sync.WaitGroup
	delay    atomic.Int64 // nanoseconds
	pools    atomic.Bool  // see ActAsPooler

	mu     sync.Mutex
	target string  // host:port of the server
	strike *Strike // Times counts down; nil if none was armed
	struck int
	gate   chan struct{} // closed by Resume; nil unless stalled
	open   map[*session]struct{}
	closed bool
}

// Start returns a proxy on a free port of 127.0.0.1 in front of the server in
// databaseURL. The caller must Close it.
func Start(databaseURL string) (*Proxy, error) {
	address, err := url.Parse(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("start a proxy: the database URL is invalid")
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

// URL returns the URL of the same database through the proxy.
func (p *Proxy) URL() string { return p.url }

// SetTarget directs future connections to another server. Open connections keep
// their server.
func (p *Proxy) SetTarget(databaseURL string) error {
	address, err := url.Parse(databaseURL)
	if err != nil {
		return fmt.Errorf("set the target of a proxy: the database URL is invalid")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = address.Host
	return nil
}

// SetDelay delays every message by the given time, in both directions. Zero
// turns the delay off.
func (p *Proxy) SetDelay(delay time.Duration) { p.delay.Store(int64(delay)) }

// ActAsPooler gives new connections process ids of the proxy's own, which the
// server does not know, as connection poolers do.
func (p *Proxy) ActAsPooler() { p.pools.Store(true) }

// Cut closes all open connections. New ones are accepted.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.open {
		s.hangUp()
	}
}

// Silence keeps the open connections open but forwards nothing more in either
// direction. To each side, the other side's machine seems to have vanished. If
// one side closes its connection, the other does not notice. New connections
// are accepted.
func (p *Proxy) Silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.open {
		s.silent.Store(true)
	}
}

// CutSilent closes the connections that Silence has silenced, like a kernel
// whose keepalive probes get no answer.
func (p *Proxy) CutSilent() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.open {
		if s.silent.Load() {
			s.hangUp()
		}
	}
}

// Stall forwards nothing, on open and new connections, until Resume. Messages
// that arrive meanwhile are forwarded afterwards.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gate == nil {
		p.gate = make(chan struct{})
	}
}

// Resume ends Stall.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gate != nil {
		close(p.gate)
		p.gate = nil
	}
}

// pass waits while the proxy is stalled, and for the delay of a message.
func (p *Proxy) pass() {
	p.mu.Lock()
	gate := p.gate
	p.mu.Unlock()
	if gate != nil {
		<-gate
	}
	time.Sleep(time.Duration(p.delay.Load()))
}

// Close closes all connections and returns when all goroutines of the proxy
// have ended.
func (p *Proxy) Close() {
	p.Resume()
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

// serve connects to the server and forwards messages between client and server
// until either side ends.
func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	p.pass()
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
