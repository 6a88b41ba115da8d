//go:build unix

package pgopen

import (
	"errors"
	"syscall"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"
)

// hasUnread reports whether something has arrived on an idle connection: the
// end of the connection, or a message such as that of a server that ends the
// session.
func hasUnread(conn *pgx.Conn) bool {
	watched := unwrap(conn.PgConn().Conn())
	if watched == nil {
		return false
	}
	socket, ok := watched.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return true
	}
	var peeked error
	err = raw.Read(func(fd uintptr) bool {
		_, _, peeked = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return true // do not read further
	})
	return err != nil || !errors.Is(peeked, unix.EAGAIN)
}
