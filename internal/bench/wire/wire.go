package wire

import (
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy is a running proxy.
type Proxy struct {
	listener net.Listener
	target   string
	url      string
	delay    time.Duration // in each direction
	trips    atomic.Int64
	group    sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]struct{}
	closed bool
}

// Start returns a proxy on a free port of 127.0.0.1 in front of the server in
// databaseURL. Each round trip takes longer by the given time. The caller must
// Close the proxy.
func Start(databaseURL string, roundTrip time.Duration) (*Proxy, error) {
	address, err := url.Parse(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("start a delaying proxy: the database URL is invalid")
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start a delaying proxy: %w", err)
	}
	p := &Proxy{listener: listener, target: address.Host, delay: roundTrip / 2, open: map[net.Conn]struct{}{}}
	address.Host = listener.Addr().String()
	p.url = address.String()
	p.group.Go(p.accept)
	return p, nil
}

// URL returns the URL of the same database through the proxy.
func (p *Proxy) URL() string { return p.url }

// RoundTrips returns the number of round trips so far, on all connections.
func (p *Proxy) RoundTrips() int64 { return p.trips.Load() }

// Close closes all connections and waits until the proxy has ended.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	_ = p.listener.Close()
	for conn := range p.open {
		conn.Close()
	}
	p.mu.Unlock()
	p.group.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.group.Go(func() { p.serve(client) })
	}
}

// keep remembers a connection for Close. It returns false after Close.
func (p *Proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range conns {
		p.open[conn] = struct{}{}
	}
	return !p.closed
}

func (p *Proxy) forget(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range conns {
		conn.Close()
		delete(p.open, conn)
	}
}

func (p *Proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		client.Close()
		return
	}
	defer p.forget(client, server)
	if !p.keep(client, server) {
		return
	}
	var answered atomic.Bool
	var group sync.WaitGroup
	group.Go(func() {
		p.forward(client, server, func() { answered.Store(true) })
	})
	p.forward(server, client, func() {
		if answered.Swap(false) {
			p.trips.Add(1)
		}
	})
	group.Wait()
}

// piece is data that is due at the other side.
type piece struct {
	data []byte
	due  time.Time
}

// forward copies data from one side to the other with the delay, until either
// side ends. It calls seen for each piece when it arrives.
func (p *Proxy) forward(to, from net.Conn, seen func()) {
	defer to.Close()
	defer from.Close()
	const waiting = 1024 // pieces under way; more would be slower than any link
	pieces := make(chan piece, waiting)
	var writer sync.WaitGroup
	writer.Go(func() {
		failed := false
		for next := range pieces {
			if failed {
				continue // the reader must not block
			}
			if p.delay > 0 {
				time.Sleep(time.Until(next.due))
			}
			if _, err := to.Write(next.data); err != nil {
				failed = true
				from.Close()
			}
		}
	})
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			seen()
			pieces <- piece{append([]byte(nil), buffer[:n]...), time.Now().Add(p.delay)}
		}
		if err != nil {
			break
		}
	}
	close(pieces)
	writer.Wait()
}
