package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"syscall"

	"lumin-ingest/internal/advice"
)

// listener is an HTTP server with its socket.
type listener struct {
	server *http.Server
	socket net.Listener
}

// open listens on an address and does not serve yet. setting names the address
// in errors.
func open(ctx context.Context, at Address, server *http.Server, setting string) (*listener, error) {
	socket, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at.HostPort)
	for next, tries := at.HostPort, at.NextPorts; tries > 0 && errors.Is(err, syscall.EADDRINUSE); tries-- {
		if next = nextPort(next); next == "" {
			break
		}
		socket, err = (&net.ListenConfig{}).Listen(ctx, "tcp", next)
	}
	if err != nil {
		return nil, cannotListen(at.HostPort, err, setting)
	}
	return &listener{server, socket}, nil
}

// nextPort returns the address with the following port; "" if there is none.
func nextPort(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return ""
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 1<<16-1 {
		return ""
	}
	return net.JoinHostPort(host, strconv.FormatUint(n+1, 10))
}

// cannotListen adds advice to an error of Listen.
func cannotListen(addr string, err error, setting string) error {
	var (
		op        *net.OpError
		malformed *net.AddrError
	)
	if errors.As(err, &op) {
		err = op.Err // the outer text repeats the address
	}
	switch {
	case errors.As(err, &malformed):
		return advice.Usage(fmt.Sprintf("cannot listen on %s: %v", addr, err), "set %s to an address such as 127.0.0.1:8080, or :8080 for all addresses of this machine", setting)
	case errors.Is(err, syscall.EADDRINUSE):
		return advice.Add(fmt.Errorf("cannot listen on %s: %w", addr, err), "stop the program that listens there, or set %s to another address", setting)
	}
	return advice.Add(fmt.Errorf("cannot listen on %s: %w", addr, err), "set %s to an address of this machine that this user may listen on", setting)
}

func (l *listener) addr() string { return l.socket.Addr().String() }

func (l *listener) serve(failed chan<- error) {
	go func() {
		if err := l.server.Serve(l.socket); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("listener %s: %w", l.addr(), err)
		}
	}()
}

func (l *listener) shutdown(ctx context.Context) error {
	if err := l.server.Shutdown(ctx); err != nil {
		return fmt.Errorf("close listener %s: %w", l.addr(), err)
	}
	return nil
}
