//go:build unix

package pgdev

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"lumin-ingest/internal/wait"
)

func TestKilledParent(t *testing.T) {
	t.Parallel()
	t.Run("same user", func(t *testing.T) {
		t.Parallel()
		killParent(t, exec.Command(self(t)))
	})
	t.Run("ordinary user", func(t *testing.T) {
		t.Parallel()
		killParent(t, selfAsOrdinaryUser(t))
	})
}

// killParent kills a process that has two servers. Both must end, although a
// child of that process stays alive.
func killParent(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	all := startHelper(t, cmd, 2)
	for _, one := range all {
		if got := query(t, one.URL, "SELECT 1"); got != "1" {
			t.Errorf("SELECT 1 = %s", got)
		}
	}
	check(t, cmd.Process.Kill())
	for _, one := range all {
		wait.Until(t, "folder, server and watchdog are gone", func() bool {
			return !exists(one.Dir) && !alive(one.PID) && !alive(one.Watchdog)
		})
		if !alive(one.Child) {
			t.Error("the child did not outlive its parent, so this test proves nothing about inherited pipes")
		}
	}
}

// The parent may also be killed before Start has returned.
func TestKilledParentWhileStarting(t *testing.T) {
	t.Parallel()
	for _, moment := range []string{"", markerName, "data/PG_VERSION", "data/pg_wal/0*", "data/global/pg_control", "data/postmaster.opts"} {
		t.Run("at "+strings.ReplaceAll(moment, "/", " "), func(t *testing.T) {
			t.Parallel()
			temp := t.TempDir()
			check(t, os.Chmod(filepath.Dir(temp), 0o755))
			check(t, os.Chmod(temp, 0o777))
			cmd := exec.Command(self(t))
			cmd.Env = append(os.Environ(), helperVariable+"=1", "TMPDIR="+temp)
			stdin, err := cmd.StdinPipe()
			check(t, err)
			defer stdin.Close()
			check(t, cmd.Start())
			wait.Until(t, "something appears", func() bool {
				found, err := filepath.Glob(filepath.Join(temp, "*", moment))
				return err == nil && len(found) > 0
			})
			check(t, cmd.Process.Kill())
			_ = cmd.Wait()
			wait.Until(t, "the temporary folder is empty", func() bool {
				left, err := os.ReadDir(temp)
				return err == nil && len(left) == 0
			})
			wait.Until(t, "no process works there", func() bool { return processesIn(temp) == "" })
		})
	}
}

// processesIn lists the processes that name a folder in their arguments. On
// systems with /proc, it also lists the processes that work in the folder.
func processesIn(dir string) string {
	output, err := exec.Command("ps", "-A", "-o", "pid=,args=").Output()
	if err != nil {
		return err.Error()
	}
	var found []string
	for line := range bytes.Lines(output) {
		pid, _, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		cwd, _ := os.Readlink("/proc/" + pid + "/cwd")
		if number, err := strconv.Atoi(pid); err == nil && number != os.Getpid() && (bytes.Contains(line, []byte(dir)) || strings.HasPrefix(cwd, dir)) {
			found = append(found, string(line))
		}
	}
	return strings.Join(found, "")
}

func TestEnvironmentHasNoEffect(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(self(t))
	cmd.Env = append(os.Environ(), "PGDATA=/nonexistent", "PGPORT=1", "PGHOST=/nonexistent", "PGUSER=nobody", "PGPASSWORD=wrong",
		"PGDATABASE=nothing", "PGOPTIONS=-c nonsense=1", "PGTZ=Mars/Olympus", "PGTARGETSESSIONATTRS=standby", "PGSSLMODE=verify-full",
		"PGREQUIREAUTH=none", "PGCHANNELBINDING=require", "PGAPPNAME=intruder",
		"DATABASE_URL=postgres://nowhere/", "TEST_DATABASE_URL=postgres://nowhere/", "LC_ALL=xx_YY", "TZ=Mars/Olympus")
	for _, one := range startHelper(t, cmd, 1) {
		if got := query(t, one.URL, "SHOW data_directory"); got != filepath.Join(one.Dir, dataName) {
			t.Errorf("data_directory = %s, want it in %s", got, one.Dir)
		}
		if got := query(t, one.URL, "SHOW TimeZone"); got != "UTC" {
			t.Errorf("TimeZone = %s, want UTC", got)
		}
		execute(t, one.URL, "CREATE TABLE environment (line text); COPY environment FROM PROGRAM 'env'")
		for _, name := range []string{"PGPORT", "PGHOST", "PGUSER", "PGPASSWORD", "PGOPTIONS", "PGAPPNAME", "DATABASE_URL", "TEST_DATABASE_URL", helperVariable} {
			if got := query(t, one.URL, "SELECT count(*) FROM environment WHERE starts_with(line, $1 || '=')", name); got != "0" {
				t.Errorf("the server has inherited %s", name)
			}
		}
	}
}

// The folder is created where the server's user can reach it, even if root's
// TMPDIR is closed to that user.
func TestClosedTemporaryFolder(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, whose own folders are closed to the server's user")
	}
	closed := t.TempDir()
	check(t, os.Chmod(closed, 0o700))
	cmd := exec.Command(self(t))
	cmd.Env = append(os.Environ(), "TMPDIR="+closed)
	for _, one := range startHelper(t, cmd, 1) {
		if filepath.Dir(one.Dir) != "/tmp" {
			t.Errorf("the folder is %s, want it in /tmp", one.Dir)
		}
	}
}

func TestUnusableClientEnvironment(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(self(t))
	cmd.Env = append(os.Environ(), helperVariable+"=1", "PGSERVICE=nowhere")
	output, err := cmd.CombinedOutput()
	if err == nil || !bytes.Contains(output, []byte("PGSERVICE")) {
		t.Errorf("with a PGSERVICE that no client can use: %v, %s; want an error that names it", err, output)
	}
}

// The watchdog deletes its own directory and no other.
func TestWatchdogRefusesForeignDirectory(t *testing.T) {
	t.Parallel()
	for name, spoil := range spoiled {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, guard := testDirectory(t)
			spoil.do(t, d)
			guard.release()
			if !exists(filepath.Join(d.path, "precious")) {
				t.Error("the watchdog deleted a directory that is not the server's")
			}
		})
	}
	t.Run("its own", func(t *testing.T) {
		t.Parallel()
		d, guard := testDirectory(t)
		guard.release()
		if exists(d.path) {
			t.Error("the watchdog did not delete its directory")
		}
	})
}

// While initdb runs, postmaster.pid holds a negative number, which kill would
// interpret as a process group.
func TestWatchdogSignalsNoProcessGroup(t *testing.T) {
	t.Parallel()
	d, guard := testDirectory(t)
	victim := d.owner.command(t.Context(), "/bin/sleep", "60") // in its own process group, as a user that the watchdog may signal
	check(t, victim.Start())
	defer victim.Wait()
	defer victim.Process.Kill()
	check(t, os.Mkdir(d.data(), 0o700))
	check(t, os.WriteFile(filepath.Join(d.data(), "postmaster.pid"), fmt.Appendf(nil, "-%d\n", victim.Process.Pid), 0o644))
	check(t, os.Chown(d.data(), int(d.owner.uid), int(d.owner.gid)))
	guard.release()
	if !alive(victim.Process.Pid) {
		t.Error("the watchdog signaled a process group")
	}
}
