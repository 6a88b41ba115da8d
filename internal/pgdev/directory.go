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

// newDirectory makes a folder that only the owner can enter. The log file is returned open, because a folder that another user
// owns is no place for root to open files by name.
func newDirectory(ctx context.Context, owner account) (_ directory, log *os.File, err error) {
	parent, err := owner.tempFolder(ctx)
	if err != nil {
		return directory{}, nil, err
	}
	path, err := os.MkdirTemp(parent, "lumin-pgdev-")
	if err != nil {
		return directory{}, nil, fmt.Errorf("make a private folder: %w", err)
	}
	d := directory{path: path, parent: parent, token: rand.Text(), owner: owner}
	log, err = d.furnish()
	if err != nil {
		_ = os.RemoveAll(path)
		return directory{}, nil, fmt.Errorf("make a private folder: %w", err)
	}
	return d, log, nil
}

// furnish writes the marker and opens the log, then hands everything over to the owner.
func (d directory) furnish() (*os.File, error) {
	marker := filepath.Join(d.path, markerName)
	if err := os.WriteFile(marker, []byte(d.token+"\n"), 0o600); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(d.path, "server.log"), os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{marker, log.Name(), d.path} { // the folder last: from then on its owner may change what is in it
		if err := os.Lchown(name, int(d.owner.uid), int(d.owner.gid)); err != nil {
			return nil, errors.Join(err, log.Close())
		}
	}
	return log, nil
}

func (d directory) data() string { return filepath.Join(d.path, dataName) }

// writePassword writes a file that only the owner can read and returns its path.
func (d directory) writePassword(password string) (string, error) {
	path := filepath.Join(d.path, "password")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", fmt.Errorf("write the password file: %w", err)
	}
	_, err = file.WriteString(password + "\n")
	if err == nil {
		err = file.Chown(int(d.owner.uid), int(d.owner.gid))
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("write the password file: %w", err), os.Remove(path))
	}
	return path, nil
}

// check returns an error unless the folder is still the one that newDirectory made. Everything that signals or deletes asks it first.
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
