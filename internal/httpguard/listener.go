package httpguard

import (
	"crypto/tls"
	"net"
	"sync"
	"time"
)

const (
	// A connection that has waited for its caller for less than maxWaiting is
	// not closed to make room, unless there was no better candidate for
	// maxWaiting.
	maxWaiting = time.Second

	// roomPoll is how often a new connection checks for room.
	roomPoll = 20 * time.Millisecond
)

// Config configures a listener of [New].
type Config struct {
	// MaxConns is the number of connections that may be open at once. It must
	// be set.
	MaxConns int

	// Refused is called with the status of each response that was sent without
	// calling a handler, such as "400". nil: it is not called.
	Refused func(status string)

	// HandshakeFailed is called when a TLS handshake has failed. nil: it is not
	// called.
	HandshakeFailed func()
}

// New returns a listener that accepts from l, which may be a listener of
// crypto/tls. Serve it with a server that [Attach] has prepared. TLS must be
// below, not around it: otherwise the server does not see the connections of
// this listener, so lines are not counted and requests may be cut off.
func New(l net.Listener, cfg Config) net.Listener {
	if cfg.Refused == nil {
		cfg.Refused = func(string) {}
	}
	if cfg.HandshakeFailed == nil {
		cfg.HandshakeFailed = func() {}
	}
	return &listener{
		Listener: l, cfg: cfg,
		conns: map[*Conn]struct{}{}, freed: make(chan struct{}, 1), closed: make(chan struct{}),
	}
}

type listener struct {
	net.Listener
	cfg Config

	freed  chan struct{} // receives a value when a connection is closed
	closed chan struct{} // closed with the listener
	once   sync.Once

	mu    sync.Mutex
	conns map[*Conn]struct{}
	busy  time.Time // since when no connection has waited for maxWaiting; zero: one had, or there was room
}

// Accept implements [net.Listener]. It waits until there is room.
func (l *listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := newConn(l, accepted)
	for !l.admit(c) {
		select {
		case <-l.freed:
		case <-time.After(roomPoll):
		case <-l.closed:
			_ = c.raw.Close()
			return nil, net.ErrClosed
		}
	}
	return c, nil
}

func newConn(l *listener, accepted net.Conn) *Conn {
	c := &Conn{Conn: accepted, raw: accepted, listener: l}
	if secured, ok := accepted.(*tls.Conn); ok {
		c.raw, c.unsecured = secured.NetConn(), secured
	}
	return c
}

// Close implements [net.Listener].
func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// admit admits c if there is room, or if it can close another connection.
func (l *listener) admit(c *Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) < l.cfg.MaxConns {
		l.busy = time.Time{}
	} else if !l.makeRoom(time.Now()) {
		return false
	}
	c.wait() // starts now, because the caller is not responsible for the wait for room
	l.conns[c] = struct{}{}
	return true
}

// makeRoom closes the connection that has waited for its caller for longest. It
// returns false if no connection may be closed yet.
func (l *listener) makeRoom(now time.Time) bool {
	var longest *Conn
	since := now.UnixNano()
	for other := range l.conns {
		if at := other.waiting.Load(); at != 0 && at < since {
			longest, since = other, at
		}
	}
	switch {
	case longest != nil && now.Sub(time.Unix(0, since)) > maxWaiting:
		l.busy = time.Time{}
	case l.busy.IsZero():
		l.busy = now
		return false
	case longest == nil || now.Sub(l.busy) < maxWaiting:
		return false
	}
	if !longest.waiting.CompareAndSwap(since, 0) {
		return false // its request was completed just now
	}
	delete(l.conns, longest)
	longest.evicted.Store(true)
	_ = longest.raw.Close() // its own goroutine notices
	return true
}

func (l *listener) remove(c *Conn) {
	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
	select {
	case l.freed <- struct{}{}:
	default:
	}
}
