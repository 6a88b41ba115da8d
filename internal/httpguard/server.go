package httpguard

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
)

type connKey struct{}

// Of returns the connection of a request; nil if its listener is not from
// [New].
func Of(ctx context.Context) *Conn {
	c, _ := ctx.Value(connKey{}).(*Conn)
	return c
}

// Attach prepares a server for a listener of [New]. It wraps the handler.
func Attach(server *http.Server) {
	server.Handler = guarded(server.Handler)
	server.ConnState = track
	server.ConnContext = func(ctx context.Context, nc net.Conn) context.Context {
		if c, ok := nc.(*Conn); ok {
			c.attached = true
		}
		return context.WithValue(ctx, connKey{}, nc)
	}
	server.DisableGeneralOptionsHandler = true // "OPTIONS *" must reach our handler too
}

// track is the ConnState function of the server.
func track(nc net.Conn, state http.ConnState) {
	c, ok := nc.(*Conn)
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

// guarded marks the connection when its request reaches the handler, and when the
// handler has read the request: at the end of its body, or at once if there is none.
func guarded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength < 0 || !r.ProtoAtLeast(1, 1) {
			w.Header().Set("Connection", "close")
		}
		if c := Of(r.Context()); c != nil {
			c.handled.Store(true)
			c.begin(r.ContentLength)
			if r.ContentLength == 0 {
				c.complete()
			} else {
				r = withBody(r, &body{r.Body, c})
			}
		}
		h.ServeHTTP(w, r)
	})
}

// withBody returns a copy of a request with another body. net/http still needs the
// body of the request itself, to tell whether it was read.
func withBody(r *http.Request, b io.ReadCloser) *http.Request {
	other := *r
	other.Body = b
	return &other
}

// body is the body of a request. Its end completes the request.
type body struct {
	io.ReadCloser
	conn *Conn
}

// Read implements [io.Reader].
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.conn.complete()
	}
	return n, err
}
