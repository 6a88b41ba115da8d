package app

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// noSleepAtExit saves a second per process under the race detector.
const noSleepAtExit = "atexit_sleep_ms=0"

// program is the program in a process of its own.
type program struct {
	tb     testing.TB
	cmd    *exec.Cmd
	stdout *lines
	stderr *lines
	exited chan struct{}
}

// startProgram runs the program with only this environment. It ends with the
// test, and must not have logged any canary.
func startProgram(tb testing.TB, env []string, args ...string) *program {
	tb.Helper()
	return startProgramAt(tb, "lumin-ingest", env, args...)
}

func startProgramAt(tb testing.TB, path string, env []string, args ...string) *program {
	tb.Helper()
	return startProgramWith(tb, func(*exec.Cmd) {}, path, env, args...)
}

// startProgramWith starts the program with other streams.
func startProgramWith(tb testing.TB, change func(*exec.Cmd), path string, env []string, args ...string) *program {
	tb.Helper()
	p := &program{tb: tb, cmd: exec.Command(path, args...), stdout: &lines{}, stderr: &lines{}, exited: make(chan struct{})}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "GORACE=" + noSleepAtExit}, env...)
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	change(p.cmd)
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // ProcessState has the result
	}()
	tb.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		if found := leaks(p.stderr.String()); len(found) > 0 {
			tb.Errorf("the log of %v shows %q", args, found)
		}
		if tb.Failed() {
			tb.Logf("%v %v\n%s%s", args, p.cmd.ProcessState, p.stdout, p.stderr)
		}
	})
	return p
}

// serveEnv are the settings of a program that serves on free ports.
func serveEnv(url string, more ...string) []string {
	return append([]string{
		"DATABASE_URL=" + url, "LISTEN_ADDR=127.0.0.1:0", "ADMIN_LISTEN_ADDR=127.0.0.1:0", "DRAIN_DELAY=0s",
		"LUMIN_ACCOUNT_API_KEYS=" + accountKey, "LUMIN_APP_SECRETS=demo=" + appSecret, "LUMIN_API_KEY=" + apiKey,
	}, more...)
}

// public and admin return where the program listens.
func (p *program) public() string { return p.listens("receiving deliveries") }
func (p *program) admin() string  { return p.listens("health and metrics") }

func (p *program) listens(message string) string {
	p.tb.Helper()
	var address string
	eventually(p.tb, 30*time.Second, message, func() bool {
		p.mustRun()
		address, _ = p.stderr.logged(message)["address"].(string)
		return address != ""
	})
	return "http://" + address
}

func (p *program) mustRun() {
	p.tb.Helper()
	select {
	case <-p.exited:
		p.tb.Fatalf("it has ended: %v\n%s", p.cmd.ProcessState, p.stderr)
	default:
	}
}

func (p *program) waitReady() {
	p.tb.Helper()
	admin := p.admin()
	eventually(p.tb, 30*time.Second, "/readyz answers 200", func() bool {
		p.mustRun()
		status, _ := get(admin + "/readyz")
		return status == http.StatusOK
	})
}

func (p *program) signal(s syscall.Signal) {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.tb.Fatal(err)
	}
}

// wait waits for the end and returns the exit code; -1 if a signal ended the
// program.
func (p *program) wait(within time.Duration) int {
	p.tb.Helper()
	select {
	case <-p.exited:
	case <-time.After(within):
		p.tb.Fatalf("it still runs after %s", within)
	}
	return p.cmd.ProcessState.ExitCode()
}

// command runs a command that must succeed, and returns what it printed.
func command(tb testing.TB, args ...string) string {
	tb.Helper()
	var out, stderr bytes.Buffer
	if code := run(context.Background(), args, streams{in: strings.NewReader(""), out: &out, err: &stderr}, testJobTypes); code != 0 {
		tb.Fatalf("%v ended with %d: %s", args, code, &stderr)
	}
	return out.String()
}
