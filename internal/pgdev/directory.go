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

// Names inside the private folder. watchdog.sh uses the same names.
const (
	markerName  = "lumin-ingest-pgdev" // holds the token
	dataName    = "data"               // PostgreSQL's PGDATA
	crashedName = "crashed.pid"        // the postmaster.pid of a server that ended without removing it
)

// directory is the private folder of one server. It contains everything that
// the server writes, and nothing else.
type directory struct {
	path   string // absolute, without symbolic links
	parent string // the temporary folder that contains it
	token  string // random; the required content of the marker file
	owner  account
}

// newDirectory chooses a name for a private folder. The watchdog creates the
// folder, so that it never exists without a watchdog.
func newDirectory(ctx context.Context, owner account) (directory, error) {
	parent, err := owner.tempFolder(ctx)
	if err != nil {
		return directory{}, err
	}
	name := "lumin-pgdev-" + strings.ToLower(rand.Text()[:12])
	return directory{path: filepath.Join(parent, name), parent: parent, token: rand.Text(), owner: owner}, nil
}

func (d directory) data() string { return filepath.Join(d.path, dataName) }

// create creates a file that only the owner can read. It never follows a link,
// because a link in another user's folder could lead root to any file.
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

// check returns an error unless the folder is still the one that this server's
// watchdog created. Every operation that signals or deletes calls it first.
func (d directory) check() error {
	if err := d.inspect(); err != nil {
		return fmt.Errorf("%s is not the folder that pgdev created (%w); pgdev leaves it unchanged: inspect it and remove it by hand", d.path, err)
	}
	return nil
}

func (d directory) inspect() error {
	if resolved, err := resolve(d.path); err != nil {
		return err
	} else if resolved != d.path || filepath.Dir(resolved) != d.parent {
		return errors.New("its path has changed or contains a symbolic link")
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
		return errors.New("its marker file has another token")
	}
	info, err = os.Lstat(d.data())
	if err == nil && (!info.IsDir() || !d.owns(info)) {
		return errors.New("its data folder is not a folder or has another owner")
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

// read returns the text of a small file in the folder. It must be a plain file
// that belongs to the owner.
func (d directory) read(name string) (string, error) {
	path := filepath.Join(d.path, name)
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || !d.owns(info) {
		return "", fmt.Errorf("%s is not a plain file or has another owner", name)
	}
	text, err := os.ReadFile(path)
	return string(text), err
}

// postmaster returns the process id in postmaster.pid. It returns 0 if there is
// no such file or the process is not a server: the programs that initdb runs
// write a negative number.
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

// setAside renames the postmaster.pid of a crashed server, so that a later
// process with the same number is not mistaken for the server. The watchdog
// reads the renamed file to find leftover shared memory.
func (d directory) setAside() error {
	err := os.Rename(filepath.Join(d.data(), "postmaster.pid"), filepath.Join(d.path, crashedName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set postmaster.pid aside: %w", err)
	}
	return nil
}

// remove deletes the folder, including its marker. The data goes first, so that
// a removal that fails there can be repeated.
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
