package httpguard

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// Conn is an accepted connection. [Of] returns nil for a server without a
// listener of [New]; Evicted may be called on nil.
type Conn struct {
	net.Conn
	raw       net.Conn  // below TLS; the same as Conn without TLS
	unsecured *tls.Conn // before the handshake; nil without TLS and afterwards. Only Read uses it
	listener  *listener
	attached  bool // served by a server that Attach has prepared

	waiting atomic.Int64 // start of the wait for the caller, in Unix nanoseconds; 0: not waiting
	handled atomic.Bool  // the current request has reached a handler
	evicted atomic.Bool  // closed to make room
	refused atomic.Bool  // answered by refuse

	framing
}

// complete records that the request was read. From now until the response, the
// caller waits for us.
func (c *Conn) complete() { c.waiting.Store(0) }

// Evicted reports whether the connection was closed to make room.
func (c *Conn) Evicted() bool { return c != nil && c.evicted.Load() }

// wait records that the connection waits for its caller from now on.
func (c *Conn) wait() { c.waiting.Store(time.Now().UnixNano()) }

// Read implements [net.Conn]. It never returns parts of a header and of a body
// together, if the server is attached: others do not tell where a body ends.
func (c *Conn) Read(p []byte) (int, error) {
	if c.refused.Load() {
		return 0, io.EOF
	}
	if c.unsecured != nil {
		if err := c.handshake(); err != nil {
			return 0, err
		}
	}
	if !c.attached {
		return c.Conn.Read(p)
	}
	n, err := c.framing.read(c.Conn, p)
	if errors.Is(err, errTooManyLines) {
		return 0, c.refuse(c.Conn, "431 Request Header Fields Too Large", "The header has too many lines.")
	}
	return n, err
}

// handshakeWriteTimeout bounds the writes of a handshake. Its reads are bounded
// by the time limit of the server for headers.
const handshakeWriteTimeout = 5 * time.Second

// handshake performs the TLS handshake, in the goroutine of the connection.
func (c *Conn) handshake() error {
	_ = c.raw.SetWriteDeadline(time.Now().Add(handshakeWriteTimeout))
	err := c.unsecured.Handshake() //nolint:noctx // the deadlines of the connection bound it
	_ = c.raw.SetWriteDeadline(time.Time{})
	c.unsecured = nil
	if err == nil {
		return nil
	}
	c.listener.cfg.HandshakeFailed()
	var other tls.RecordHeaderError
	if errors.As(err, &other) && other.Conn != nil && isHTTP(other.RecordHeader) {
		return c.refuse(c.raw, "400 Bad Request", "This port expects HTTPS.")
	}
	return io.EOF
}

// isHTTP reports whether the first bytes of a connection are those of a request
// without TLS.
func isHTTP(start [5]byte) bool {
	for _, method := range []string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET"} {
		if string(start[:]) == method {
			return true
		}
	}
	return false
}

// A refused caller gets a moment to stop sending. If the connection was closed
// while bytes are unread, the caller would get a reset instead of the answer.
const (
	refusedTime  = 500 * time.Millisecond
	refusedBytes = 64 << 10
)

// refuse answers a request that net/http does not get to see. The error that it
// returns makes net/http close the connection. net/http may first write an
// answer of its own, which Write then drops.
func (c *Conn) refuse(to net.Conn, status, reason string) error {
	c.refused.Store(true)
	c.listener.cfg.Refused(status[:3])
	_ = to.SetDeadline(time.Now().Add(refusedTime))
	_, _ = io.WriteString(to, "HTTP/1.1 "+status+"\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"+reason+"\n")
	_ = closeWrite(to)
	_, _ = io.CopyN(io.Discard, to, refusedBytes)
	return io.EOF
}

// Write implements [net.Conn]. A response that is written before a handler was
// called comes from net/http itself. From now on the connection waits for the
// caller to read it.
func (c *Conn) Write(p []byte) (int, error) {
	if c.refused.Load() {
		return 0, net.ErrClosed
	}
	const before = len("HTTP/1.1 ")
	if c.attached && !c.handled.Load() && len(p) >= before+3 && bytes.HasPrefix(p, []byte("HTTP/1.")) {
		c.listener.cfg.Refused(string(p[before : before+3]))
	}
	c.wait()
	return c.Conn.Write(p)
}

// Close implements [net.Conn].
func (c *Conn) Close() error {
	c.listener.remove(c)
	return c.Conn.Close()
}

// CloseWrite lets net/http close a connection without losing a response that is
// still in transit.
func (c *Conn) CloseWrite() error { return closeWrite(c.Conn) }

func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
