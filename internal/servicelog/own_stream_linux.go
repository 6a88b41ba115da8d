package servicelog

import (
	"io"
	"os"
	"strconv"
	"syscall"
)

// OwnStream returns a separate writer to a standard stream, and makes the
// stream itself non-blocking. The stream serves job types that print, and the
// Go runtime: with a blocking stream that no one reads, a crash would hang
// while it prints, and ignore signals.
//
// Only a pipe can both block forever and be opened a second time. Any other
// stream is returned unchanged, and so is a pipe that this user may not open.
func OwnStream(w io.Writer) io.Writer {
	stream, ok := w.(*os.File)
	if !ok {
		return w
	}
	info, err := stream.Stat()
	if err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return w
	}
	fd := int(stream.Fd())
	// A second open file description of the pipe: a flag on the existing one
	// would apply to every process that has inherited it.
	nonBlocking, err := syscall.Open("/proc/self/fd/"+strconv.Itoa(fd), syscall.O_WRONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return w
	}
	defer func() { _ = syscall.Close(nonBlocking) }()
	blocking, err := syscall.Dup(fd)
	if err != nil {
		return w
	}
	syscall.CloseOnExec(blocking)
	if err := syscall.Dup3(nonBlocking, fd, 0); err != nil {
		_ = syscall.Close(blocking)
		return w
	}
	return os.NewFile(uintptr(blocking), stream.Name())
}
