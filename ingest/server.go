package ingest

import (
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"lumin-ingest/internal/httpguard"
)

// Limits of the server. Reading and recording together take less than the 30 s
// that Lumin waits for a response.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second // header and body
	writeTimeout      = 30 * time.Second // from the end of the header: reading the body, recording, answering
	idleTimeout       = 120 * time.Second
	maxHeaderBytes    = 16 << 10
)

// maxConnections limits the memory that unknown callers can use outside the
// budget: per connection, the goroutine and buffers of net/http, a header of up
// to 16 KiB and 100 lines, and the first 16 KiB of a body.
const maxConnections = 2048

// NewServer returns a server for h with every limit set. The caller starts it
// on a listener from [Handler.Guard] and shuts it down. The server logs
// nothing: set ErrorLog to log connections that cannot be accepted.
//
// It does not speak HTTP/2: one connection would carry many requests, and the
// limits are limits of connections.
func NewServer(h http.Handler) *http.Server {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	httpguard.Attach(server)
	return server
}

// Guard returns a listener that accepts from l. Serve it with the server of
// [NewServer]. For TLS, l must be a listener of crypto/tls: around the guard,
// TLS would hide its connections from the server. It does three things that an
// [http.Server] does not:
//
//   - It bounds the number of connections. When 2048 are open, a new one
//     replaces the one that has been idle, sending its request or taking its
//     answer for longest. A connection whose request is being worked on is
//     never closed this way.
//   - It refuses a header of more than 100 lines.
//   - It counts the requests that are refused before any handler runs, such as
//     malformed ones, in lumin_http_refused_total, and failed TLS handshakes in
//     lumin_tls_handshakes_failed_total.
func (h *Handler) Guard(l net.Listener) net.Listener { return h.guard(l, maxConnections) }

func (h *Handler) guard(l net.Listener, max int) net.Listener {
	return httpguard.New(l, httpguard.Config{
		MaxConns: max, Refused: h.metrics.refusedByHTTP, HandshakeFailed: h.metrics.handshakesFailed.Inc,
	})
}
