package ingest

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// maxConnections limits the memory that unknown callers can use outside the
// budget: per connection, the goroutine and buffers of net/http, a header of up
// to 16 KiB and the first 16 KiB of a body.
const maxConnections = 2048

const (
	// A connection that has waited for its caller for less than maxWaiting is
	// not closed to make room, unless there was no better candidate for
	// maxWaiting.
	maxWaiting = time.Second

	// roomPoll is how often a new connection checks for room.
	roomPoll = 20 * time.Millisecond
)

// Guard returns a listener that accepts from l. Serve it with the server of
// [NewServer]. It does two things that an [http.Server] does not:
//
//   - It bounds the number of connections. When 2048 are open, a new one
//     replaces the one that has been idle, sending its request or taking its
//     answer for longest. A connection whose request is being worked on is
//     never closed this way.
//   - It counts the requests that net/http refuses before any handler runs,
//     such as malformed ones, in lumin_http_refused_total.
func (h *Handler) Guard(l net.Listener) net.Listener {
	return &guard{
		Listener: l, max: maxConnections, refused: h.metrics.refusedByHTTP,
		conns: map[*conn]struct{}{}, freed: make(chan struct{}, 1), closed: make(chan struct{}),
	}
}

// guard is the listener that [Handler.Guard] returns.
type guard struct {
	net.Listener
	max     int
	refused func(status string)

	freed  chan struct{} // receives a value when a connection is closed
	closed chan struct{} // closed with the listener
	once   sync.Once

	mu    sync.Mutex
	conns map[*conn]struct{}
	busy  time.Time // since when no connection has waited for maxWaiting; zero: one had, or there was room
}

// Accept implements [net.Listener]. It waits until there is room.
func (g *guard) Accept() (net.Conn, error) {
	accepted, err := g.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: accepted, guard: g}
	for !g.admit(c) {
		select {
		case <-g.freed:
		case <-time.After(roomPoll):
		case <-g.closed:
			_ = accepted.Close()
			return nil, net.ErrClosed
		}
	}
	return c, nil
}

// Close implements [net.Listener].
func (g *guard) Close() error {
	g.once.Do(func() { close(g.closed) })
	return g.Listener.Close()
}

// admit admits c if there is room, or if it can close another connection.
func (g *guard) admit(c *conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.conns) < g.max {
		g.busy = time.Time{}
	} else if !g.makeRoom(time.Now()) {
		return false
	}
	c.wait() // starts now, because the caller is not responsible for the wait for room
	g.conns[c] = struct{}{}
	return true
}

// makeRoom closes the connection that has waited for its caller for longest. It
// returns false if no connection may be closed yet.
func (g *guard) makeRoom(now time.Time) bool {
	var longest *conn
	since := now.UnixNano()
	for other := range g.conns {
		if at := other.waiting.Load(); at != 0 && at < since {
			longest, since = other, at
		}
	}
	switch {
	case longest != nil && now.Sub(time.Unix(0, since)) > maxWaiting:
		g.busy = time.Time{}
	case g.busy.IsZero():
		g.busy = now
		return false
	case longest == nil || now.Sub(g.busy) < maxWaiting:
		return false
	}
	delete(g.conns, longest)
	longest.evicted.Store(true)
	_ = longest.Conn.Close() // its own goroutine notices
	return true
}

func (g *guard) remove(c *conn) {
	g.mu.Lock()
	delete(g.conns, c)
	g.mu.Unlock()
	select {
	case g.freed <- struct{}{}:
	default:
	}
}

// conn is a connection of a [guard]. complete and wasEvicted may be called on
// nil, which is the value for a server without a guard.
type conn struct {
	net.Conn
	guard   *guard
	waiting atomic.Int64 // start of the wait for the caller, in Unix nanoseconds; 0: not waiting
	handled atomic.Bool  // the current request has reached a handler
	evicted atomic.Bool  // closed to make room
}

// Write implements [net.Conn]. A response that is written before a handler was
// called comes from net/http itself. From now on the connection waits for the
// caller to read it.
func (c *conn) Write(p []byte) (int, error) {
	const before = len("HTTP/1.1 ")
	if !c.handled.Load() && len(p) >= before+3 && string(p[:7]) == "HTTP/1." {
		c.guard.refused(string(p[before : before+3]))
	}
	c.wait()
	return c.Conn.Write(p)
}

// Close implements [net.Conn].
func (c *conn) Close() error {
	c.guard.remove(c)
	return c.Conn.Close()
}

// CloseWrite lets net/http close a connection without losing a response that is
// still in transit.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// wait records that the connection waits for its caller from now on.
func (c *conn) wait() { c.waiting.Store(time.Now().UnixNano()) }

// complete records that the request was read. From now until the response, the
// caller waits for us.
func (c *conn) complete() {
	if c != nil {
		c.waiting.Store(0)
	}
}

// wasEvicted reports whether the connection was closed to make room.
func (c *conn) wasEvicted() bool { return c != nil && c.evicted.Load() }

type connKey struct{}

// connOf returns the guarded connection of a request; nil without a guard.
func connOf(ctx context.Context) *conn {
	c, _ := ctx.Value(connKey{}).(*conn)
	return c
}

// track is the ConnState function of the [http.Server].
func track(nc net.Conn, state http.ConnState) {
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	switch state {
	case http.StateIdle:
		c.handled.Store(false)
		c.wait()
	case http.StateActive:
		c.wait()
	case http.StateNew, http.StateHijacked, http.StateClosed:
	}
}

// tracked marks the connection when its request reaches the handler.
func tracked(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c := connOf(r.Context()); c != nil {
			c.handled.Store(true)
		}
		h.ServeHTTP(w, r)
	})
}
