package app

import (
	"context"
	"errors"
	"net"
	"strconv"
	"syscall"
)

// maxMoves is how many taken ports dev passes over before it gives up.
const maxMoves = 100

// listenNear listens on addr, or else on one of the next ports of the same host:
// moves of them at most, and only where a port is taken.
func listenNear(ctx context.Context, addr string, moves int) (net.Listener, error) {
	socket, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if moves == 0 || !errors.Is(err, syscall.EADDRINUSE) {
		return socket, err
	}
	host, port, splitErr := net.SplitHostPort(addr)
	n, parseErr := strconv.ParseUint(port, 10, 16)
	if splitErr != nil || parseErr != nil || n == 1<<16-1 {
		return nil, err
	}
	return listenNear(ctx, net.JoinHostPort(host, strconv.FormatUint(n+1, 10)), moves-1)
}
