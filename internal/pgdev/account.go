//go:build unix

package pgdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
	"time"
)

// account is the user that runs the server's processes and owns its folder.
type account struct {
	name     string
	uid, gid uint32
	switched bool // this process is root, and its children run as the account
}

// findAccount returns the current user. For root it returns an unprivileged
// user, because PostgreSQL refuses to run as root.
func findAccount() (account, error) {
	if uid := os.Geteuid(); uid != 0 {
		return account{name: "uid " + strconv.Itoa(uid), uid: uint32(uid), gid: uint32(os.Getegid())}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
		if uidErr == nil && gidErr == nil && uid != 0 {
			return account{name: name, uid: uint32(uid), gid: uint32(gid), switched: true}, nil
		}
	}
	return account{}, errors.New("PostgreSQL refuses to run as root, and this system has no user \"postgres\" or \"nobody\"; " +
		"create one of them, or run this program as an ordinary user")
}

// command prepares a program to run as the account. The program gets a clean
// environment and a folder that every user can enter. It runs in its own
// session, so that Ctrl-C or the end of the terminal does not reach it.
func (a account) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = "/"
	// TZ saves initdb the search for a time zone. LC_ALL prevents a fatal error
	// about threads in PostgreSQL on macOS.
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C", "TZ=UTC"}
	cmd.WaitDelay = 5 * time.Second // in case a grandchild keeps an output pipe open
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if a.switched {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return cmd
}

// can reports whether the account passes a test of /bin/sh on a folder: "-x" to
// enter it, "-w" to create and delete in it. Only a test as that user takes
// every parent folder, group and access list into account.
func (a account) can(ctx context.Context, test, folder string) bool {
	return a.command(ctx, "/bin/sh", "-c", `test "$1" "$2"`, "sh", test, folder).Run() == nil
}

// tempFolder returns a folder in which the account can create and delete. The
// path has no symbolic links.
func (a account) tempFolder(ctx context.Context) (string, error) {
	for _, folder := range []string{os.TempDir(), "/tmp"} {
		resolved, err := resolve(folder)
		if err == nil && a.can(ctx, "-x", resolved) && a.can(ctx, "-w", resolved) {
			return resolved, nil
		}
	}
	return "", fmt.Errorf("user %s can write neither to %s nor to /tmp; set TMPDIR to a folder that this user can write to", a.name, os.TempDir())
}
