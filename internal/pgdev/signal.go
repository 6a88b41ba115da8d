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

// Pause stops every process of the server with SIGSTOP, until Continue: its port
// still takes connections, and nothing answers. Halt and Close end a paused server
// as well. Pausing a server that is not running is an error.
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
	// The main process goes first, so that it starts no others meanwhile.
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

// KillBackend ends one process of the server, as pg_stat_activity lists them, with
// SIGKILL. PostgreSQL then ends all others and recovers. The process of another
// server, or none, is an error.
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

// running returns an error unless the server runs and may be signaled.
func (s *Server) running() error {
	if err := s.usable(); err != nil {
		return err
	}
	if s.run == nil || s.run.ended() {
		return errors.New("it is not running")
	}
	return nil
}

// wake lets the processes go on that Pause has stopped. A stopped process would
// not notice that the main one has ended. While Pause lasts none of them can be
// waited for, so their numbers still are theirs.
func (r *run) wake() {
	for _, pid := range r.paused {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	r.paused = nil
}

// children lists the server's processes other than the main one. While that has
// not been waited for, its number belongs to no other process.
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

// childrenInProc is for Linux without the program ps.
func childrenInProc(parent int) ([]int, error) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // fails only for a malformed pattern
	if len(files) == 0 {
		return nil, errors.New("list its processes: neither the program ps nor /proc is there; install ps")
	}
	var pids []int
	for _, file := range files {
		text, _ := os.ReadFile(file) // the process may have ended
		// The name of the program is in parentheses and may contain anything.
		number, _, _ := strings.Cut(string(text), " ")
		behind := string(text)[strings.LastIndexByte(string(text), ')')+1:]
		var state string
		var pid, its int
		if _, err := fmt.Sscan(behind, &state, &its); err != nil || its != parent {
			continue
		}
		if _, err := fmt.Sscan(number, &pid); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
