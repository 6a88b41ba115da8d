//go:build unix

package pgdev

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Names inside the private directory; watchdog.sh knows them too.
const (
	markerName  = "lumin-ingest-pgdev" // holds the token
	dataName    = "data"               // what PostgreSQL calls PGDATA
	crashedName = "crashed.pid"        // the postmaster.pid of a server that ended without removing it
)

// directory is the private folder of one server: everything that the server writes is in it, and nothing else is.
type directory struct {
	path   string // absolute, without symbolic links
	parent string // the temporary folder it was made in
	token  string // random; what the marker file must say
	owner  account
}

// newDirectory chooses a name for a private folder. The watchdog makes it, so that there is no moment at which it exists unguarded.
func newDirectory(ctx context.Context, owner account) (directory, error) {
	parent, err := owner.tempFolder(ctx)
	if err != nil {
		return directory{}, err
	}
	name := "lumin-pgdev-" + strings.ToLower(rand.Text()[:12])
	return directory{path: filepath.Join(parent, name), parent: parent, token: rand.Text(), owner: owner}, nil
}

func (d directory) data() string { return filepath.Join(d.path, dataName) }

// create makes a new file that only the owner can read. It never follows a link: root must not be led out of a folder that another
// user owns.
func (d directory) create(name string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(d.path, name), os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if err := file.Chown(int(d.owner.uid), int(d.owner.gid)); err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(file.Name()))
	}
	return file, nil
}

// check returns an error unless the folder is still the one that our watchdog made. Everything that signals or deletes asks it first.
func (d directory) check() error {
	if err := d.inspect(); err != nil {
		return fmt.Errorf("%s is not the folder that pgdev made (%w); it is left as it is, look at it and remove it by hand", d.path, err)
	}
	return nil
}

func (d directory) inspect() error {
	if resolved, err := resolve(d.path); err != nil {
		return err
	} else if resolved != d.path || filepath.Dir(resolved) != d.parent {
		return errors.New("it is somewhere else")
	}
	info, err := os.Lstat(d.path)
	if err != nil {
		return err
	}
	if !info.IsDir() || !d.owns(info) || info.Mode().Perm()&0o077 != 0 {
		return errors.New("it is not a folder that only its owner can enter")
	}
	marker, err := d.read(markerName)
	if err != nil {
		return err
	}
	if d.token == "" || strings.TrimSpace(marker) != d.token {
		return errors.New("its marker file says something else")
	}
	info, err = os.Lstat(d.data())
	if err == nil && (!info.IsDir() || !d.owns(info)) {
		return errors.New("its data folder is not one, or is somebody else's")
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d directory) owns(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Uid == d.owner.uid
}

// read returns the text of a small file in the folder, which must be a plain file of the owner.
func (d directory) read(name string) (string, error) {
	path := filepath.Join(d.path, name)
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || !d.owns(info) {
		return "", fmt.Errorf("%s is not a plain file, or is somebody else's", name)
	}
	text, err := os.ReadFile(path)
	return string(text), err
}

// postmaster returns the process id in postmaster.pid, 0 if there is no such file or the process is not a server: the programs
// that initdb runs write a negative number.
func (d directory) postmaster() (int, error) {
	text, err := d.read(filepath.Join(dataName, "postmaster.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(text, "\n")
	pid, err := strconv.Atoi(first)
	if err != nil || pid < 2 {
		return 0, nil
	}
	return pid, nil
}

// setAside takes the postmaster.pid of a crashed server out of the way, so that nobody takes a later process with the same number
// for the server. The watchdog finds in it which shared memory is left to remove.
func (d directory) setAside() error {
	err := os.Rename(filepath.Join(d.data(), "postmaster.pid"), filepath.Join(d.path, crashedName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set postmaster.pid aside: %w", err)
	}
	return nil
}

// remove deletes the folder, the marker last, so that a removal that failed half-way can be repeated.
func (d directory) remove() error {
	if err := d.check(); err != nil {
		return err
	}
	if err := os.RemoveAll(d.data()); err != nil {
		return err
	}
	return os.RemoveAll(d.path)
}

// resolve returns an absolute path without symbolic links.
func resolve(path string) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(absolute)
}
