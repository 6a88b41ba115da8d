//go:build unix

package pgdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Pause stops every process of the server with SIGSTOP until Continue. The port
// still accepts connections, but nothing answers. Halt and Close also work on a
// paused server. Pausing a server that is not running is an error.
func (s *Server) Pause(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.pause(ctx); err != nil {
		return fmt.Errorf("pause the private PostgreSQL server: %w", err)
	}
	return nil
}

func (s *Server) pause(ctx context.Context) error {
	if err := s.running(); err != nil {
		return err
	}
	// The main process is stopped first, so that it cannot start others
	// meanwhile.
	main := s.run.cmd.Process.Pid
	if err := syscall.Kill(main, syscall.SIGSTOP); err != nil {
		return err
	}
	children, err := s.run.children(ctx)
	s.run.paused = append(children, main)
	if err != nil {
		s.run.wake()
		return err
	}
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGSTOP) // it may have ended
	}
	return nil
}

// Continue ends a Pause. Continuing a server that is not paused does nothing.
func (s *Server) Continue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run != nil {
		s.run.wake()
	}
}

// KillBackend ends one process of the server with SIGKILL. pid is as in
// pg_stat_activity. PostgreSQL then ends all other backends and recovers. A pid
// that is not a process of this server is an error.
func (s *Server) KillBackend(ctx context.Context, pid int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.running()
	var children []int
	if err == nil {
		children, err = s.run.children(ctx)
	}
	if err == nil && !slices.Contains(children, pid) {
		err = errors.New("no such process of this server")
	}
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil {
		return fmt.Errorf("kill backend %d: %w", pid, err)
	}
	return nil
}

// running returns an error unless the server is running and usable.
func (s *Server) running() error {
	if err := s.usable(); err != nil {
		return err
	}
	if s.run == nil || s.run.ended() {
		return errors.New("it is not running")
	}
	return nil
}

// wake continues the processes that Pause has stopped. A stopped process would
// not notice the end of the main process. While Pause lasts, no parent can wait
// for these processes, so their numbers still belong to them.
func (r *run) wake() {
	for _, pid := range r.paused {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	r.paused = nil
}

// children lists the server's processes except the main one. No other process
// can have the main process's number until that process has been waited for.
func (r *run) children(ctx context.Context) ([]int, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	text, err := exec.CommandContext(ctx, "ps", "-A", "-o", "pid=,ppid=").Output()
	if errors.Is(err, exec.ErrNotFound) {
		return childrenInProc(r.cmd.Process.Pid)
	}
	if err != nil {
		return nil, fmt.Errorf("list its processes: %w", err)
	}
	var pids []int
	for line := range strings.Lines(string(text)) {
		var pid, parent int
		if _, err := fmt.Sscan(line, &pid, &parent); err == nil && parent == r.cmd.Process.Pid {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// childrenInProc lists child processes on a Linux without the program ps.
func childrenInProc(parent int) ([]int, error) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // fails only for a malformed pattern
	if len(files) == 0 {
		return nil, errors.New("list its processes: this system has neither the program ps nor /proc; install ps")
	}
	var pids []int
	for _, file := range files {
		text, _ := os.ReadFile(file) // the process may have ended
		// The program's name is in parentheses and may contain any character.
		number, _, _ := strings.Cut(string(text), " ")
		afterName := string(text)[strings.LastIndexByte(string(text), ')')+1:]
		var state string
		var pid, ppid int
		if _, err := fmt.Sscan(afterName, &state, &ppid); err != nil || ppid != parent {
			continue
		}
		if _, err := fmt.Sscan(number, &pid); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
