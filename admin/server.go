package admin

import (
	"io"
	"log"
	"net/http"
	"time"
)

// NewServer returns a server for h with every limit set, for the caller to give
// an address to, start and shut down. It is silent: set ErrorLog to hear when
// connections cannot be accepted.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second, // much more than a readiness check or a scrape takes
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    64 << 10, // browsers come here, with cookies of whatever else runs on this host
		ErrorLog:          log.New(io.Discard, "", 0),
	}
}
