package app

import (
	"io"
	"os"
	"strconv"
	"syscall"
)

// ownStream returns a writer to a standard stream, and makes the stream itself
// one that never blocks, for all who write to it past the returned writer: job
// types that print, and the Go runtime, which would otherwise hang in the middle
// of a crash, deaf to signals, while nobody reads what it prints.
//
// Only pipes can be stuck for ever and be opened anew. Anything else is returned
// as it is, and so is a pipe that this user may not open.
func ownStream(w io.Writer) io.Writer {
	stream, ok := w.(*os.File)
	if !ok {
		return w
	}
	info, err := stream.Stat()
	if err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return w
	}
	fd := int(stream.Fd())
	// Another description of the same pipe: a flag set on the one there is would
	// hold for every process that has inherited it.
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
