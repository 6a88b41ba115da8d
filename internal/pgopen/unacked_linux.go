package pgopen

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// limitUnacked bounds how long sent data may stay unacknowledged. No keepalives
// are sent during that time, and Linux would try for 15 minutes by default.
func limitUnacked(network, _ string, conn syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var err error
	if controlErr := conn.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(clientUnacked.Milliseconds()))
	}); controlErr != nil {
		return controlErr
	}
	return err
}
