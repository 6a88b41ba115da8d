package pgopen

import (
	"context"
	"encoding/binary"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// watchedConn notices that a session does not answer. A slow server is not dead,
// so a second connection asks the server whether the session is still working.
//
// A pending Read alone does not mean that an answer is missing: pgx may read from
// an idle connection in the background. So watchedConn follows the protocol: an
// answer is missing from a Write until the next ReadyForQuery.
type watchedConn struct {
	net.Conn                         // above TLS
	ask      atomic.Pointer[askFunc] // nil: not watched
	sent     atomic.Int64            // Unix time in ns of the last Write without an answer; 0: none

	// Of the message that is being read. Only Read uses them.
	header []byte
	rest   int // bytes of its body that have not arrived
}

// askFunc asks the server about the session until answered is closed. It
// reports whether to close the connection.
type askFunc = func(answered <-chan struct{}) bool

// watch is a pgconn.Config.AfterNetConnect.
func watch(_ context.Context, _ *pgconn.Config, conn net.Conn) (net.Conn, error) {
	return &watchedConn{Conn: conn}, nil
}

// NetConn returns the connection below, as the method of [tls.Conn] does.
func (c *watchedConn) NetConn() net.Conn { return c.Conn }

// Write implements net.Conn.
func (c *watchedConn) Write(b []byte) (int, error) {
	c.sent.Store(time.Now().UnixNano())
	return c.Conn.Write(b)
}

// Read implements net.Conn.
func (c *watchedConn) Read(b []byte) (int, error) {
	ask := c.ask.Load()
	if ask == nil {
		n, err := c.Conn.Read(b)
		c.follow(b[:n])
		return n, err
	}
	answered := make(chan struct{})
	timer := time.AfterFunc(silence, func() { c.watch(*ask, answered) })
	n, err := c.Conn.Read(b)
	timer.Stop()
	close(answered)
	c.follow(b[:n])
	return n, err
}

// watch asks about the session whenever an answer has been missing for long.
func (c *watchedConn) watch(ask askFunc, answered <-chan struct{}) {
	for {
		wait := silence
		if sent := c.sent.Load(); sent != 0 {
			if wait = silence - time.Since(time.Unix(0, sent)); wait <= 0 {
				if ask(answered) {
					_ = c.Close()
					return
				}
				wait = silence
			}
		}
		select {
		case <-answered:
			return
		case <-time.After(wait):
		}
	}
}

const (
	headerSize    = 5   // of a message: its type and four bytes of length
	readyForQuery = 'Z' // ends each answer
)

// follow reads the boundaries of the messages that have arrived.
func (c *watchedConn) follow(b []byte) {
	for len(b) > 0 {
		if c.rest > 0 {
			n := min(c.rest, len(b))
			c.rest -= n
			b = b[n:]
			continue
		}
		n := min(headerSize-len(c.header), len(b))
		c.header = append(c.header, b[:n]...)
		b = b[n:]
		if len(c.header) < headerSize {
			return
		}
		if c.header[0] == readyForQuery {
			c.sent.Store(0)
		}
		c.rest = max(0, int(binary.BigEndian.Uint32(c.header[1:]))-4) // the length includes itself
		c.header = c.header[:0]
	}
}
