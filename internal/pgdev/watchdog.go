//go:build unix

package pgdev

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
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

// startWatchdog returns when the watchdog has made the private folder.
func startWatchdog(d directory) (*watchdog, error) {
	stdin, hold, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the watchdog: %w", err)
	}
	defer stdin.Close()
	cmd := d.owner.command(context.Background(), "/bin/sh", "-c", watchdogScript, "lumin-pgdev-watchdog", d.path, d.token)
	cmd.Stdin = stdin
	said, err := cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the watchdog: %w", err), hold.Close())
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the watchdog as %s: %w", d.owner.name, err), hold.Close())
	}
	w := &watchdog{cmd: cmd, hold: hold}
	text, err := io.ReadAll(said) // the script closes its output once the folder is made
	if problem := strings.TrimSpace(string(text)); problem != "" || err != nil {
		w.release()
		return nil, fmt.Errorf("make a private folder as %s: %w", d.owner.name, cmp.Or(err, errors.New(problem)))
	}
	return w, nil
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
