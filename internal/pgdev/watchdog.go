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

// watchdogTimeout is longer than the script's own time limit.
const watchdogTimeout = 30 * time.Second

// watchdog is the process that cleans up after this one. It lives as long as
// the folder, whether the server is running or halted.
type watchdog struct {
	cmd  *exec.Cmd
	hold *os.File // the watchdog acts when this pipe closes; close-on-exec, so that no child (such as another watchdog) keeps it open
}

// startWatchdog returns when the watchdog has created the private folder.
func startWatchdog(d directory) (*watchdog, error) {
	stdin, hold, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the watchdog: %w", err)
	}
	defer stdin.Close()
	cmd := d.owner.command(context.Background(), "/bin/sh", "-c", watchdogScript, "lumin-pgdev-watchdog", d.path, d.token)
	cmd.Stdin = stdin
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the watchdog: %w", err), hold.Close())
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the watchdog as %s: %w", d.owner.name, err), hold.Close())
	}
	w := &watchdog{cmd: cmd, hold: hold}
	text, err := io.ReadAll(output) // the script closes its output once the folder exists
	if problem := strings.TrimSpace(string(text)); problem != "" || err != nil {
		w.release()
		return nil, fmt.Errorf("create a private folder as %s: %w", d.owner.name, cmp.Or(err, errors.New(problem)))
	}
	return w, nil
}

// release triggers the watchdog's cleanup and waits until the watchdog has
// ended. Callers check the folder for the result, not the exit code: the
// watchdog may have been killed.
func (w *watchdog) release() {
	_ = w.hold.Close()
	stuck := time.AfterFunc(watchdogTimeout, func() { _ = w.cmd.Process.Kill() })
	defer stuck.Stop()
	_ = w.cmd.Wait()
}

// keep prevents the garbage collector from closing the pipe before this call.
func (w *watchdog) keep() { runtime.KeepAlive(w.hold) }
