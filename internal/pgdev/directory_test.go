//go:build unix

package pgdev

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// spoiled lists the ways in which a folder stops being the one that Start
// created. "do" needs a folder from testDirectory or Start, and "undo" restores
// it.
var spoiled = map[string]struct{ do, undo func(*testing.T, directory) }{
	"no marker": {
		func(t *testing.T, d directory) { check(t, os.Rename(d.marker(), d.marker()+".away")) },
		func(t *testing.T, d directory) { check(t, os.Rename(d.marker()+".away", d.marker())) },
	},
	"another server's marker": {
		func(t *testing.T, d directory) { check(t, os.WriteFile(d.marker(), []byte("another\n"), 0o600)) },
		func(t *testing.T, d directory) { check(t, os.WriteFile(d.marker(), []byte(d.token), 0o600)) },
	},
	"another folder in its place": {
		func(t *testing.T, d directory) {
			check(t, os.Rename(d.path, d.path+".away"))
			check(t, os.Mkdir(d.path, 0o700))
			check(t, os.WriteFile(filepath.Join(d.path, "precious"), nil, 0o600))
			t.Cleanup(func() { check(t, os.RemoveAll(d.path+".away")) })
		},
		func(t *testing.T, d directory) {
			check(t, os.RemoveAll(d.path))
			check(t, os.Rename(d.path+".away", d.path))
		},
	},
	"a link in its place": {
		func(t *testing.T, d directory) {
			check(t, os.Rename(d.path, d.path+".away"))
			check(t, os.Symlink(d.path+".away", d.path))
			t.Cleanup(func() { check(t, os.RemoveAll(d.path+".away")) })
		},
		func(t *testing.T, d directory) {
			check(t, os.Remove(d.path))
			check(t, os.Rename(d.path+".away", d.path))
		},
	},
}

func (d directory) marker() string { return filepath.Join(d.path, markerName) }

// testDirectory starts a watchdog, which creates a private folder, and puts a
// file in the folder.
func testDirectory(t *testing.T) (directory, *watchdog) {
	t.Helper()
	owner, err := findAccount()
	check(t, err)
	d, err := newDirectory(t.Context(), owner)
	check(t, err)
	guard, err := startWatchdog(d)
	check(t, err)
	t.Cleanup(func() {
		guard.release()
		check(t, os.RemoveAll(d.path))
	})
	check(t, os.WriteFile(filepath.Join(d.path, "precious"), nil, 0o600))
	return d, guard
}

func TestDirectoryCheck(t *testing.T) {
	t.Parallel()
	for name, spoil := range spoiled {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, _ := testDirectory(t)
			check(t, d.check())
			spoil.do(t, d)
			if d.remove() == nil {
				t.Error("a foreign folder was removed")
			}
			if !exists(filepath.Join(d.path, "precious")) {
				t.Error("the folder's content was removed")
			}
			spoil.undo(t, d)
			check(t, d.check())
		})
	}
}

func TestDirectoryCheckRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*testing.T, *directory){
		"a folder open to others": func(t *testing.T, d *directory) { check(t, os.Chmod(d.path, 0o755)) },
		"a folder elsewhere":      func(_ *testing.T, d *directory) { d.parent = "/somewhere" },
		"an empty token": func(t *testing.T, d *directory) {
			d.token = ""
			check(t, os.WriteFile(d.marker(), nil, 0o600))
		},
		"another owner": func(_ *testing.T, d *directory) { d.owner.uid++ },
		"a marker that is a link": func(t *testing.T, d *directory) {
			check(t, os.Rename(d.marker(), d.marker()+".away"))
			link(t, d, d.marker()+".away", d.marker())
		},
		"data that is a link": func(t *testing.T, d *directory) { link(t, d, "/", d.data()) },
		"data of another owner": func(t *testing.T, d *directory) {
			check(t, os.Mkdir(d.data(), 0o700))
			if os.Geteuid() != 0 {
				t.Skip("needs root to own a folder that is not the server's")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, _ := testDirectory(t)
			changed := d
			change(t, &changed)
			if changed.check() == nil {
				t.Error("was accepted")
			}
		})
	}
}

// link creates a symbolic link that belongs to the owner.
func link(t *testing.T, d *directory, target, path string) {
	t.Helper()
	check(t, os.Symlink(target, path))
	check(t, os.Lchown(path, int(d.owner.uid), int(d.owner.gid)))
}

func TestServerRefusesForeignDirectory(t *testing.T) {
	t.Parallel()
	s := startServer(t, Config{})
	for name, spoil := range spoiled {
		t.Run(name, func(t *testing.T) { // not parallel: the cases share the server
			spoil.do(t, s.dir)
			if s.Halt(Fast) == nil || s.Resume(t.Context()) == nil || s.Close() == nil {
				t.Error("one of Halt, Resume and Close accepted it")
			}
			if !alive(s.PID()) {
				t.Error("the server was stopped anyway")
			}
			spoil.undo(t, s.dir)
			if got := query(t, s.URL(), "SELECT 1"); got != "1" {
				t.Errorf("SELECT 1 = %s", got)
			}
		})
	}
	check(t, s.Close())
	if exists(s.Dir()) {
		t.Error("the server's own folder was not deleted")
	}
}

// Only the process that postmaster.pid names is signaled.
func TestHaltRefusesAnotherPID(t *testing.T) {
	t.Parallel()
	s := startServer(t, Config{})
	file := filepath.Join(s.dir.data(), "postmaster.pid")
	text, err := s.dir.read(filepath.Join(dataName, "postmaster.pid"))
	check(t, err)
	check(t, os.WriteFile(file, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600))
	if s.Halt(Immediate) == nil {
		t.Error("Halt signaled a process that postmaster.pid does not name")
	}
	check(t, syscall.Kill(s.PID(), 0))
	check(t, os.WriteFile(file, []byte(text), 0o600))
	check(t, s.Halt(Immediate))
}
