package ingest

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// maxConnections bounds the memory that callers take before anything is known
// about them: the goroutine and buffers of net/http, a header of up to 16 KiB and
// the first 16 KiB of a body, which are outside the budget.
const maxConnections = 2048

const (
	// A connection that has kept us waiting for less is not closed for another one,
	// unless for as long as this no other kind was to be had.
	maxWaiting = time.Second

	// How often a new connection looks for room when there is none.
	roomPoll = 20 * time.Millisecond
)

// Guard returns a listener that accepts from l. Serve it with the server of
// [NewServer]. It does two things that an [http.Server] does not:
//
//   - It bounds the number of connections. When 2048 are open, a new one replaces
//     the one that has been idle, sending its request or taking its answer for
//     longest. A connection whose request is being worked on is never closed this
//     way.
//   - It counts the requests that net/http refuses before any handler runs, such
//     as malformed ones, in lumin_http_refused_total.
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

	freed  chan struct{} // has a value after a connection was closed
	closed chan struct{} // is closed with the listener
	once   sync.Once

	mu    sync.Mutex
	conns map[*conn]struct{}
	busy  time.Time // since when no connection waits for maxWaiting; zero: one did, or there was room
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

// admit takes c in, in place of another connection if necessary and possible.
func (g *guard) admit(c *conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.conns) < g.max {
		g.busy = time.Time{}
	} else if !g.makeRoom(time.Now()) {
		return false
	}
	c.wait() // not before: what it waited for room was our doing
	g.conns[c] = struct{}{}
	return true
}

// makeRoom closes the connection that has kept us waiting for longest. The result is
// false if there is none that may be closed by now.
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

// conn is a connection of a [guard]. Its methods that are not those of a
// [net.Conn] may be called on nil, for a server without a guard.
type conn struct {
	net.Conn
	guard   *guard
	waiting atomic.Int64 // since when we wait for the other side, in Unix nanoseconds; 0: we do not
	handled atomic.Bool  // the present request has reached a handler
	evicted atomic.Bool  // closed to make room
}

// Write implements [net.Conn]. What is written before a handler was called is an
// answer by net/http itself. From here on it is up to the other side to take it.
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

// CloseWrite lets net/http end a connection in a way that spares the answer from
// being lost on its way.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// wait notes that from now on we wait for the other side.
func (c *conn) wait() { c.waiting.Store(time.Now().UnixNano()) }

// complete notes that the request was read: what follows is up to us, until there
// is an answer.
func (c *conn) complete() {
	if c != nil {
		c.waiting.Store(0)
	}
}

// closedForOthers reports whether the connection had to make room.
func (c *conn) closedForOthers() bool { return c != nil && c.evicted.Load() }

type connKey struct{}

// connOf returns the guarded connection of a request; nil without a guard.
func connOf(ctx context.Context) *conn {
	c, _ := ctx.Value(connKey{}).(*conn)
	return c
}

// track is a [http.Server]'s ConnState.
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

// tracked lets the connection know that its request has reached a handler.
func tracked(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c := connOf(r.Context()); c != nil {
			c.handled.Store(true)
		}
		h.ServeHTTP(w, r)
	})
}
