//go:build unix

package pgdev

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// helperVariable turns the test binary into a program that starts servers and
// then waits to be killed. Its value is the number of servers.
const helperVariable = "PGDEV_TEST_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperVariable) != "" {
		if err := helper(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// started is the helper's report about one server. It prints one JSON object
// per line.
type started struct {
	URL, Dir      string
	PID, Watchdog int
	Child         int // a process that the helper started later and that outlives it
}

// helper starts servers, all at the same time, and then an unrelated child
// process.
func helper() error {
	count, err := strconv.Atoi(os.Getenv(helperVariable))
	if err != nil {
		return err
	}
	servers := make(chan *Server)
	for range count {
		go func() {
			server, err := Start(context.Background(), Config{})
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			servers <- server
		}()
	}
	var all []*Server
	for range count {
		all = append(all, <-servers)
	}
	child := exec.Command("/bin/sleep", "120")
	if err := child.Start(); err != nil {
		return err
	}
	for _, s := range all {
		report := started{URL: s.URL(), Dir: s.Dir(), PID: s.PID(), Watchdog: s.watchdog.cmd.Process.Pid, Child: child.Process.Pid}
		if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
			return err
		}
	}
	_, err = io.Copy(io.Discard, os.Stdin) // until the test kills this process, or ends
	return errors.Join(err, child.Process.Kill())
}

// startHelper runs the helper and returns the helper's reports.
func startHelper(t *testing.T, cmd *exec.Cmd, count int) []started {
	t.Helper()
	cmd.Env = append(cmd.Environ(), helperVariable+"="+strconv.Itoa(count))
	stderr := &strings.Builder{}
	cmd.Stderr = stderr
	cmd.WaitDelay = time.Second // a broken helper might let its child inherit the output pipe
	stdin, err := cmd.StdinPipe()
	check(t, err)
	stdout, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var all []started
	for lines := bufio.NewScanner(stdout); len(all) < count && lines.Scan(); {
		var one started
		check(t, json.Unmarshal(lines.Bytes(), &one))
		all = append(all, one)
		t.Cleanup(func() { _ = syscall.Kill(one.Child, syscall.SIGKILL) })
	}
	if len(all) != count {
		_ = cmd.Wait()
		t.Fatalf("the helper started %d servers, want %d: %s", len(all), count, stderr)
	}
	return all
}

// selfAsOrdinaryUser returns a command that runs a copy of the test binary as
// an ordinary user.
func selfAsOrdinaryUser(t *testing.T) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to become another user; as an ordinary user every other test covers this")
	}
	dir, err := os.MkdirTemp("/tmp", "pgdev-test-")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	check(t, os.Chmod(dir, 0o755))
	text, err := os.ReadFile(self(t))
	check(t, err)
	program := filepath.Join(dir, "helper")
	writeProgram(t, program, text)
	cmd := account{uid: 65534, gid: 65534, switched: true}.command(t.Context(), program)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	return cmd
}

func self(t *testing.T) string {
	t.Helper()
	program, err := os.Executable()
	check(t, err)
	return program
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// startServer starts a server for one test.
func startServer(t *testing.T, cfg Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), cfg)
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

// query returns the first value of the first row as text.
func query(t *testing.T, address, sql string, args ...any) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	check(t, err)
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), sql, args...)
	check(t, err)
	text, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[any])
	check(t, err)
	return fmt.Sprint(text)
}

func execute(t *testing.T, address, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	check(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), sql)
	check(t, err)
}

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	state, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && !strings.HasPrefix(strings.TrimSpace(string(state)), "Z")
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
