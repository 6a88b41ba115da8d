//go:build unix

package pgdev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// errPortTaken means that another process listens on the port or uses it for a
// connection.
var errPortTaken = errors.New("the port is taken")

// run is one run of the server, from its start until its last process has
// ended.
type run struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when the postmaster has ended
	gone   chan struct{} // closed when the processes of its connections have ended too
	paused []int         // processes stopped by Pause, the postmaster last
}

// ended reports whether the postmaster has ended.
func (r *run) ended() bool {
	select {
	case <-r.exited:
		return true
	default:
		return false
	}
}

// launch starts the server on a port from nextPort and waits until it is ready.
// Another process can take the port before the server does. In that case launch
// calls nextPort again.
func (s *Server) launch(ctx context.Context, nextPort func() (int, error)) error {
	for attempt := 1; ; attempt++ {
		port, err := nextPort()
		if err != nil {
			return err
		}
		err = s.launchOn(ctx, port)
		if err == nil {
			if s.port != port { // avoids a data race: Resume keeps the port, and other goroutines may read it
				s.port = port
			}
			return nil
		}
		if !errors.Is(err, errPortTaken) || attempt == portAttempts {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(portPause):
		}
	}
}

// launchOn makes one attempt. If it fails, nothing of the attempt is left
// running.
func (s *Server) launchOn(ctx context.Context, port int) error {
	info, err := s.log.Stat()
	if err != nil {
		return err
	}
	if s.run, err = s.spawn(port); err != nil {
		return err
	}
	err = s.run.awaitReady(ctx, s.address(port, "postgres"))
	if err == nil {
		return nil
	}
	// Safe without checking postmaster.pid: this is a child that has not been
	// waited for, so no other process can have its number.
	_ = s.run.cmd.Process.Signal(syscall.SIGQUIT)
	settleErr := s.settle()
	output := s.logSince(info.Size())
	if strings.Contains(output, "could not bind") {
		return fmt.Errorf("%w: 127.0.0.1:%d", errPortTaken, port)
	}
	return errors.Join(fmt.Errorf("%w; the end of its log:\n%s", err, output), settleErr)
}

// spawn starts the postmaster. Every process of the server inherits one end of
// a pipe. The other end reads end-of-file only when all of them have ended. The
// exit of the postmaster alone does not prove that.
func (s *Server) spawn(port int) (*run, error) {
	alive, inherited, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer inherited.Close()
	args := []string{"-D", s.dir.data(), "-c", "port=" + strconv.Itoa(port)}
	for _, name := range slices.Sorted(maps.Keys(s.settings)) {
		args = append(args, "-c", name+"="+s.settings[name])
	}
	cmd := s.dir.owner.command(context.Background(), s.programs.postgres(), args...)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	cmd.ExtraFiles = []*os.File{inherited}
	if err := cmd.Start(); err != nil {
		_ = alive.Close()
		return nil, fmt.Errorf("run %s as %s: %w", s.programs.postgres(), s.dir.owner.name, err)
	}
	r := &run{cmd: cmd, exited: make(chan struct{}), gone: make(chan struct{})}
	go r.watch(alive, s.watchdog)
	return r, nil
}

// watch closes each channel when its processes have ended. It also keeps the
// watchdog's pipe reachable, because the garbage collector closes unreachable
// files. Otherwise a caller that keeps only the URL would lose the server.
func (r *run) watch(alive *os.File, guard *watchdog) {
	_ = r.cmd.Wait() // the log shows how it ended
	close(r.exited)
	_, _ = io.Copy(io.Discard, alive)
	_ = alive.Close()
	close(r.gone)
	guard.keep()
}

// awaitReady returns nil when the server accepts a client with the right
// password. The password ensures that the answer does not come from another
// server on that port.
func (r *run) awaitReady(ctx context.Context, address string) error {
	config, err := clientConfig(address)
	if err != nil {
		return err
	}
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		conn, err := pgx.ConnectConfig(ctx, config)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-r.exited:
			return errors.New("the server exited during its start")
		case <-ctx.Done():
			return fmt.Errorf("the server was not ready in time: %w", context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// clientConfig parses the server's URL and removes the settings that come from
// the environment. Only variables that make the parsing itself fail still have
// an effect. They would also break every later client.
func clientConfig(address string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, fmt.Errorf("variables such as PGSERVICE in the environment prevent clients from using the server's URL (%w); unset them", err)
	}
	config.RuntimeParams = map[string]string{}
	config.ValidateConnect = nil
	config.RequireAuth = ""
	config.ChannelBinding = "prefer"
	config.ConnectTimeout = time.Second
	return config, nil
}

// halt stops the server if it runs. The caller has checked the folder.
func (s *Server) halt(mode ShutdownMode) error {
	signals := map[ShutdownMode]syscall.Signal{Fast: syscall.SIGINT, Immediate: syscall.SIGQUIT, Kill: syscall.SIGKILL}
	signal, known := signals[mode]
	if !known {
		return fmt.Errorf("%s is not a shutdown mode; use Fast, Immediate or Kill", mode)
	}
	if s.run != nil && !s.run.ended() {
		pid, err := s.dir.postmaster()
		if err != nil {
			return err
		}
		if child := s.run.cmd.Process.Pid; pid != child {
			return fmt.Errorf("postmaster.pid names process %d instead of %d, so neither was signaled; inspect %s", pid, child, s.dir.path)
		}
		if err := s.run.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		s.run.wake()
	}
	return s.settle()
}

// settle waits until every process of a stopping server has ended, and renames
// a leftover postmaster.pid.
func (s *Server) settle() error {
	if s.run == nil {
		return nil
	}
	select {
	case <-s.run.gone:
	case <-time.After(haltTimeout):
		return fmt.Errorf("some of its processes are still running after %s; see server.log in %s", haltTimeout, s.dir.path)
	}
	s.run = nil
	return s.dir.setAside()
}

// freePort returns a port of 127.0.0.1 that is currently unused.
func freePort() (int, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port on 127.0.0.1: %w", err)
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close() //nolint:forcetypeassert // it listens on TCP
}

// lastLines returns the last 15 lines of a text, enough to show why a program
// failed.
func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
