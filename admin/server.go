package admin

import (
	"io"
	"log"
	"net/http"
	"time"
)

// NewServer returns a server for h with every limit set. The caller sets its
// address, starts it and shuts it down. The server logs nothing: set ErrorLog
// to log connections that cannot be accepted.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second, // far longer than a readiness check or a scrape takes
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    64 << 10, // browsers send the cookies of every service on this host
		ErrorLog:          log.New(io.Discard, "", 0),
	}
}
