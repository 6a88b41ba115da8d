package ingest

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"time"
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

// NewServer returns a server for h with every limit set. The caller starts it
// on a listener from [Handler.Guard] and shuts it down. The server logs
// nothing: set ErrorLog to log connections that cannot be accepted.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:                      tracked(h),
		ConnContext:                  func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ConnState:                    track,
		ReadHeaderTimeout:            readHeaderTimeout,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		DisableGeneralOptionsHandler: true, // our handler answers "OPTIONS *" with 404
		ErrorLog:                     log.New(io.Discard, "", 0),
	}
}
