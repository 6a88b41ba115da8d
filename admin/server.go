package admin

import (
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"lumin-ingest/internal/httpguard"
)

// maxConnections is more than all monitors of a program need.
const maxConnections = 128

// NewServer returns a server for h with every limit set. The caller starts it
// on a listener from [Guard] and shuts it down. The server logs nothing: set ErrorLog
// to log connections that cannot be accepted.
func NewServer(h http.Handler) *http.Server {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second, // far longer than a readiness check or a scrape takes
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    64 << 10, // browsers send the cookies of every service on this host
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	httpguard.Attach(server)
	return server
}

// Guard returns a listener that accepts from l at most 128 connections. A new
// one then replaces the one that has been idle, sending its request or taking
// its answer for longest. A header has at most 100 lines. Serve the listener
// with the server of [NewServer]. TLS goes below it: l may be a listener of
// crypto/tls.
func Guard(l net.Listener) net.Listener {
	return httpguard.New(l, httpguard.Config{MaxConns: maxConnections})
}
