//go:build unix

package pgopen

import (
	"errors"
	"net"
	"syscall"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"
)

// hasUnread reports whether something has arrived on an idle connection: the
// end of the connection, or a message such as that of a server that ends the
// session.
func hasUnread(conn *pgx.Conn) bool {
	socket, ok := socketOf(conn.PgConn().Conn())
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return true
	}
	var peeked error
	// raw.Read would wait for another reader: pgx may still be reading in the
	// background from a connection that is idle.
	err = raw.Control(func(fd uintptr) {
		_, _, peeked = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	return err != nil || !errors.Is(peeked, unix.EAGAIN)
}

// socketOf returns the socket below a connection and its TLS.
func socketOf(conn net.Conn) (syscall.Conn, bool) {
	for {
		wrapper, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			socket, ok := conn.(syscall.Conn)
			return socket, ok
		}
		conn = wrapper.NetConn()
	}
}
