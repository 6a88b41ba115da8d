//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// lineCounter is a writer that counts lines.
type lineCounter int

func (n *lineCounter) Write(p []byte) (int, error) {
	*n += lineCounter(bytes.Count(p, []byte("\n")))
	return len(p), nil
}

// export lists all events as JSON in a separate process, to measure its memory.
// On Linux the measured value is at least the memory of this program. Export
// therefore runs before the steps that need more memory.
func (b *bench) export(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "lumin-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	program := filepath.Join(dir, "lumin-ingest")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "lumin-ingest/cmd/lumin-ingest")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build the program: %w", err)
	}
	var lines lineCounter
	list := exec.CommandContext(ctx, program, "events", "list", "--output", "json")
	list.Env = append(os.Environ(), "DATABASE_URL="+b.url)
	list.Stdout, list.Stderr = &lines, os.Stderr
	start := time.Now()
	if err := list.Run(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if int(lines) != b.events {
		return fmt.Errorf("export: %d lines for %d events", lines, b.events)
	}
	b.add("export of all events", fmt.Sprintf("%.0f events/s", float64(lines)/time.Since(start).Seconds()), "")
	used, ok := list.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return errors.New("export: this system does not report the memory of a process")
	}
	peak := float64(used.Maxrss)
	if runtime.GOOS != "darwin" { // macOS counts bytes, other systems KiB
		peak *= 1024
	}
	b.add("its memory", fmt.Sprintf("%.0f MiB", peak/(1<<20)), "<= 100 MiB")
	return nil
}
