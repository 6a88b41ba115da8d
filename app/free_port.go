package app

import (
	"context"
	"errors"
	"net"
	"strconv"
	"syscall"
)

// maxMoves is how many ports in use dev skips before it gives up.
const maxMoves = 100

// listenNear listens on addr. If that port is in use, it tries up to moves next
// ports of the same host.
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
