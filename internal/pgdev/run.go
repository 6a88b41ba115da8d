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

// errPortTaken means that somebody else listens on the port or uses it for a connection of theirs.
var errPortTaken = errors.New("the port is taken")

// run is one life of the server, from its launch until the last of its processes has ended.
type run struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when the postmaster has ended
	gone   chan struct{} // closed when the processes of its connections have ended too
	paused []int         // processes that Pause has stopped, the postmaster last
}

// ended reports whether the postmaster has.
func (r *run) ended() bool {
	select {
	case <-r.exited:
		return true
	default:
		return false
	}
}

// launch starts the server on a port that nextPort names and waits until it is ready. Between a port's choice and its use others can
// take it, so it asks again.
func (s *Server) launch(ctx context.Context, nextPort func() (int, error)) error {
	for attempt := 1; ; attempt++ {
		port, err := nextPort()
		if err != nil {
			return err
		}
		err = s.launchOn(ctx, port)
		if err == nil {
			if s.port != port { // Resume keeps it, and others may be reading it then
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

// launchOn makes one attempt. If it fails, nothing of the attempt is left running.
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
	// Our own child that nobody has waited for: its number cannot be another process's, postmaster.pid or not.
	_ = s.run.cmd.Process.Signal(syscall.SIGQUIT)
	settleErr := s.settle()
	said := s.logSince(info.Size())
	if strings.Contains(said, "could not bind") {
		return fmt.Errorf("%w: 127.0.0.1:%d", errPortTaken, port)
	}
	return errors.Join(fmt.Errorf("%w; the end of its log:\n%s", err, said), settleErr)
}

// spawn starts the postmaster. Every process of the server inherits one end of a pipe: when the other end reads end-of-file, all of
// them have ended, which their parent's exit alone does not tell.
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

// watch closes the channels in time. It also keeps the watchdog's pipe in use: a caller that keeps nothing but the URL must not lose
// the server to the garbage collector, which closes files that nobody can reach.
func (r *run) watch(alive *os.File, guard *watchdog) {
	_ = r.cmd.Wait() // how it ended is in the log
	close(r.exited)
	_, _ = io.Copy(io.Discard, alive)
	_ = alive.Close()
	close(r.gone)
	guard.keep()
}

// awaitReady returns nil when the server answers a client that knows the password, so that another server on that port cannot be
// taken for ours.
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
			return errors.New("the server ended while starting")
		case <-ctx.Done():
			return fmt.Errorf("the server was not ready in time: %w", context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// clientConfig parses the server's address without what the environment adds to it. Only variables that make the parsing itself fail
// are left to trouble us, and they would trouble every later client as well.
func clientConfig(address string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, fmt.Errorf("variables such as PGSERVICE in the environment keep clients from using the server's address (%w); unset them", err)
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
		return fmt.Errorf("%s is no shutdown mode; use Fast, Immediate or Kill", mode)
	}
	if s.run != nil && !s.run.ended() {
		pid, err := s.dir.postmaster()
		if err != nil {
			return err
		}
		if ours := s.run.cmd.Process.Pid; pid != ours {
			return fmt.Errorf("postmaster.pid names process %d, not %d; it is not signaled, look at %s", pid, ours, s.dir.path)
		}
		if err := s.run.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		s.run.wake()
	}
	return s.settle()
}

// settle waits until every process of an ending server has gone, and puts the folder in order.
func (s *Server) settle() error {
	if s.run == nil {
		return nil
	}
	select {
	case <-s.run.gone:
	case <-time.After(haltTimeout):
		return fmt.Errorf("some of its processes still run after %s; see server.log in %s", haltTimeout, s.dir.path)
	}
	s.run = nil
	return s.dir.setAside()
}

// freePort returns a port of 127.0.0.1 that nobody uses just now.
func freePort() (int, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port on 127.0.0.1: %w", err)
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close() //nolint:forcetypeassert // it listens on TCP
}

// lastLines returns the end of a text, enough of it to show why a program failed.
func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
