package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of the times in /proc: USER_HZ, which is 100 on all
// architectures that Go supports.
const tick = 10 * time.Millisecond

func checkSystem() error {
	_, err := os.Stat("/proc/self/stat")
	return err
}

// dieWithParent ends a program together with the benchmark.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the signal comes when the thread ends that started the program
}

// stat is what is used of /proc/PID/stat.
type stat struct {
	parent      int
	own, waited time.Duration // CPU time: its own, and of children that have ended
}

func readStat(pid int) (s stat, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return s, err
	}
	// The name in parentheses may contain anything, also parentheses.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 15 {
		return s, fmt.Errorf("/proc/%d/stat is too short", pid)
	}
	var n [4]int64
	for i := range n {
		if n[i], err = strconv.ParseInt(string(fields[11+i]), 10, 64); err != nil {
			return s, err
		}
	}
	s.own, s.waited = time.Duration(n[0]+n[1])*tick, time.Duration(n[2]+n[3])*tick
	s.parent, err = strconv.Atoi(string(fields[1]))
	return s, err
}

// processTime returns the CPU time that a process has used. With family, it
// adds its children, also those that have ended.
func processTime(pid int, family bool) (time.Duration, error) {
	s, err := readStat(pid)
	if err != nil || !family {
		return s.own, err
	}
	total := s.own + s.waited
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, folder := range folders {
		child, err := strconv.Atoi(filepath.Base(folder))
		if err != nil {
			continue
		}
		c, err := readStat(child)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended meanwhile
		}
		if err != nil {
			return 0, err
		}
		if c.parent == pid {
			total += c.own + c.waited
		}
	}
	return total, nil
}

// memory returns the resident memory of a process now and at its highest, in
// bytes. The highest value counts from the start of its program.
func memory(pid int) (now, highest int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	return statusBytes(string(text), "VmRSS"), statusBytes(string(text), "VmHWM"), nil
}

// statusBytes returns a value that /proc gives in KiB.
func statusBytes(text, name string) int64 {
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, name+":"); found {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return n << 10
		}
	}
	return 0
}

// hardware describes the machine.
func hardware() (processor, system string, memory int64) {
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
				processor = strings.TrimSpace(value)
				break
			}
		}
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		memory = statusBytes(string(text), "MemTotal")
	}
	system = runtime.GOOS + "/" + runtime.GOARCH
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		release, _, _ := strings.Cut(strings.TrimSpace(string(text)), "-") // without what its builder has added
		system += " " + release
	}
	return processor, system, memory
}
