package ingest

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// Timeouts of the server. Reading and recording together end before the 30 s
// that Lumin waits for an answer.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second // header and body
	writeTimeout      = 30 * time.Second // from the header on: the rest of reading, recording, answering
	idleTimeout       = 120 * time.Second
	maxHeaderBytes    = 16 << 10
)

// NewServer returns a server for h with every limit set, for the caller to start
// on a listener from [Handler.Guard] and to shut down. It is silent: set ErrorLog
// to hear when connections cannot be accepted.
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
		DisableGeneralOptionsHandler: true, // "OPTIONS *" is no path of ours either
		ErrorLog:                     log.New(io.Discard, "", 0),
	}
}
