//go:build unix

package pgdev

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"
)

//go:embed watchdog.sh
var watchdogScript string

// watchdogPatience is more than the script allows itself.
const watchdogPatience = 30 * time.Second

// watchdog is the process that cleans up after us. It lives as long as the folder, whether the server runs or is halted.
type watchdog struct {
	cmd  *exec.Cmd
	hold *os.File // open as long as we live; close-on-exec, so that no child of ours, another watchdog say, keeps it open for us
}

func startWatchdog(d directory) (*watchdog, error) {
	stdin, hold, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the watchdog: %w", err)
	}
	defer stdin.Close()
	cmd := d.owner.command(context.Background(), "/bin/sh", "-c", watchdogScript, "lumin-pgdev-watchdog", d.path, d.token)
	cmd.Stdin = stdin
	if err := cmd.Start(); err != nil {
		_ = hold.Close()
		return nil, fmt.Errorf("start the watchdog as %s: %w", d.owner.name, err)
	}
	return &watchdog{cmd: cmd, hold: hold}, nil
}

// release lets the watchdog do its work and waits until it has ended. What it could not do is seen from the folder, not from its
// exit code: it may have been killed.
func (w *watchdog) release() {
	_ = w.hold.Close()
	stuck := time.AfterFunc(watchdogPatience, func() { _ = w.cmd.Process.Kill() })
	defer stuck.Stop()
	_ = w.cmd.Wait()
}

// keep holds on to the pipe until the call.
func (w *watchdog) keep() { runtime.KeepAlive(w.hold) }
