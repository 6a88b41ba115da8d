//go:build unix

package pgdev

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"weak"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/wait"
)

func TestStartConnectClose(t *testing.T) {
	t.Parallel()
	s := startServer(t, Config{})
	if got := query(t, s.URL(), "SELECT 1"); got != "1" {
		t.Errorf("SELECT 1 = %s", got)
	}
	pid, dir, watchdog := s.PID(), s.Dir(), s.watchdog.cmd.Process.Pid
	for range 2 { // the second Close does nothing
		check(t, s.Close())
	}
	if alive(pid) || alive(watchdog) || exists(dir) {
		t.Errorf("left after Close: server %t, watchdog %t, folder %t", alive(pid), alive(watchdog), exists(dir))
	}
	if s.PID() != 0 {
		t.Errorf("PID after Close = %d, want 0", s.PID())
	}
	if s.Halt(Fast) == nil || s.Resume(t.Context()) == nil {
		t.Error("a closed server was halted or resumed")
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for _, server := range []struct {
		config Config
		want   map[string]string
	}{
		{Config{}, map[string]string{
			"fsync": "off", "full_page_writes": "off", "synchronous_commit": "on", "max_connections": "200", "shared_buffers": "64MB",
			"TimeZone": "UTC", "autovacuum": "on", "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
			"server_encoding": "UTF8", "lc_collate": "C", "log_min_messages": "warning", "password_encryption": "scram-sha-256",
		}},
		{Config{Durable: true, Settings: map[string]string{"Max_Connections": "17", "my.own": `it's "quoted"`}}, map[string]string{
			"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "max_connections": "17", "my.own": `it's "quoted"`,
		}},
	} {
		t.Run(fmt.Sprintf("durable=%t", server.config.Durable), func(t *testing.T) {
			t.Parallel()
			s := startServer(t, server.config)
			for name, want := range server.want {
				if name == "lc_collate" { // removed in version 16
					if got := query(t, s.URL(), "SELECT datcollate::text FROM pg_database WHERE datname = 'postgres'"); got != want {
						t.Errorf("collation = %q, want %q", got, want)
					}
				} else if got := query(t, s.URL(), "SELECT current_setting($1)", name); got != want {
					t.Errorf("%s = %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestSettingsRefused(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"": "x", "a b": "x", "a=b": "x", "a;b": "x", "1a": "x", "a.b.c": "x", "-c": "x", "port": "5432", "Listen_Addresses": "*", "work_mem": "1\x00",
	} {
		if s, err := Start(t.Context(), Config{Settings: map[string]string{name: value}}); err == nil {
			t.Errorf("setting %q was accepted", name)
			check(t, s.Close())
		}
	}
}

func TestPrivate(t *testing.T) {
	t.Parallel()
	s := startServer(t, Config{})
	wrong, err := url.Parse(s.URL())
	check(t, err)
	wrong.User = url.UserPassword(superuser, "guess")
	if conn, err := pgx.Connect(t.Context(), wrong.String()); err == nil {
		_ = conn.Close(t.Context())
		t.Error("a wrong password was accepted")
	}
	if got := query(t, s.URL(), "SELECT rolpassword ~ '^SCRAM-SHA-256' FROM pg_authid WHERE rolname = $1", superuser); got != "true" {
		t.Error("the password is not kept as SCRAM-SHA-256")
	}
	if got := query(t, s.URL(), "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'"); got != "0" {
		t.Errorf("%s rules of pg_hba.conf allow another authentication", got)
	}
	entries, err := os.ReadDir(s.Dir())
	check(t, err)
	for _, entry := range entries {
		if !slices.Contains([]string{markerName, dataName, "server.log"}, entry.Name()) {
			t.Errorf("%s is in the private folder", entry.Name())
		}
	}
	group, err := syscall.Getpgid(s.PID())
	check(t, err)
	if group == syscall.Getpgrp() {
		t.Error("Ctrl-C at the terminal would reach the server")
	}
}

func TestDatabaseURL(t *testing.T) {
	t.Parallel()
	s := startServer(t, Config{})
	for _, name := range []string{"orders", `a b/c?d"é`} {
		execute(t, s.URL(), "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
		if got := query(t, s.DatabaseURL(name), "SELECT current_database()::text"); got != name {
			t.Errorf("DatabaseURL(%q) leads to %q", name, got)
		}
	}
}

func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	servers := make(chan *Server, 2)
	for range 2 {
		go func() {
			s, err := Start(t.Context(), Config{})
			if err != nil {
				t.Error(err)
			}
			servers <- s
		}()
	}
	first, second := <-servers, <-servers
	if t.Failed() {
		t.FailNow()
	}
	defer second.Close()
	if first.URL() == second.URL() || first.Dir() == second.Dir() {
		t.Errorf("both are at %s", first.Dir())
	}
	execute(t, first.URL(), "CREATE TABLE only_here ()")
	check(t, first.Close()) // returns when the first watchdog has read the end of its pipe and ended
	if exists(first.Dir()) {
		t.Error("the first server's folder was not deleted")
	}
	if got := query(t, second.URL(), "SELECT count(*) FROM pg_class WHERE relname = 'only_here'"); got != "0" {
		t.Error("a table of the first server is in the second")
	}
}

func TestHaltResume(t *testing.T) {
	t.Parallel()
	for _, mode := range []ShutdownMode{Fast, Immediate, Kill} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			s := startServer(t, Config{})
			address, pid := s.URL(), s.PID()
			execute(t, address, "CREATE TABLE kept AS SELECT 42 AS answer")
			busy := busyBackend(t, s)

			check(t, s.Halt(mode))
			if alive(pid) || s.PID() != 0 {
				t.Errorf("after Halt: server %t, PID %d", alive(pid), s.PID())
			}
			if mode == Kill && !exists(filepath.Join(s.Dir(), "finished")) {
				t.Error("Halt did not wait for a backend that was still busy")
			}
			wait.Until(t, "the busy backend is gone", func() bool { return !alive(busy) })
			if conn, err := pgx.Connect(t.Context(), address); err == nil {
				_ = conn.Close(t.Context())
				t.Error("a halted server answers")
			}
			check(t, s.Halt(mode)) // nothing to do
			if exists(filepath.Join(s.dir.data(), "postmaster.pid")) {
				t.Error("postmaster.pid still names a process that has ended")
			}

			check(t, s.Resume(t.Context()))
			if got := query(t, address, "SELECT answer FROM kept"); got != "42" || s.URL() != address {
				t.Errorf("answer = %s at %s, want 42 at %s", got, s.URL(), address)
			}
			pid = s.PID()
			check(t, s.Resume(t.Context())) // nothing to do
			if s.PID() != pid {
				t.Error("Resume restarted a running server")
			}
		})
	}
}

// busyBackend leaves a backend computing for a second, so that it does not
// notice the end of the postmaster at once. If the backend is not ended
// earlier, it writes the file "finished".
func busyBackend(t *testing.T, s *Server) (pid int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL())
	check(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	conn.PgConn().Exec(t.Context(), fmt.Sprintf(`DO $$ BEGIN
		WHILE clock_timestamp() < now() + interval '1 second' LOOP END LOOP;
		COPY (SELECT 1) TO '%s/finished';
	END $$`, s.Dir()))
	pid = int(conn.PgConn().PID())
	wait.Until(t, "the backend is busy", func() bool {
		return query(t, s.URL(), "SELECT state FROM pg_stat_activity WHERE pid = $1", pid) == "active"
	})
	return pid
}

// A server that another process killed can be resumed like a halted one.
func TestResumeAfterCrash(t *testing.T) {
	t.Parallel()
	s := startServer(t, Config{})
	execute(t, s.URL(), "CREATE TABLE kept AS SELECT 42 AS answer")
	check(t, syscall.Kill(s.PID(), syscall.SIGKILL))
	wait.Until(t, "PID notices the crash", func() bool { return s.PID() == 0 })
	check(t, s.Resume(t.Context()))
	if got := query(t, s.URL(), "SELECT answer FROM kept"); got != "42" {
		t.Errorf("answer = %s, want 42", got)
	}
}

// PostgreSQL protects its data folder with a System V segment, which outlives a
// killed server. Close must not leak it.
func TestCloseAfterKillFreesMemory(t *testing.T) {
	t.Parallel()
	s := startServer(t, Config{})
	lock, err := s.dir.read(filepath.Join(dataName, "postmaster.pid"))
	check(t, err)
	segment := strings.Fields(strings.Split(lock, "\n")[6])[1]
	segments := func() string {
		output, err := exec.Command("ipcs", "-m").Output()
		if err != nil {
			t.Skip("needs the program ipcs: ", err)
		}
		return string(output)
	}
	if !slices.Contains(strings.Fields(segments()), segment) {
		t.Fatalf("ipcs does not list segment %s", segment)
	}
	check(t, s.Halt(Kill))
	check(t, s.Close())
	if slices.Contains(strings.Fields(segments()), segment) {
		t.Errorf("segment %s was not removed", segment)
	}
}

func TestTakenPort(t *testing.T) {
	t.Parallel()
	s := startServer(t, Config{})
	check(t, s.Halt(Fast))

	// Resume must keep its port, so it waits until the port is free.
	var squatter net.Listener
	wait.Until(t, "a port that nothing on this machine has taken meanwhile", func() (listens bool) {
		var err error
		squatter, err = net.Listen("tcp4", "127.0.0.1:"+strconv.Itoa(s.port))
		return err == nil
	})
	resumed := make(chan error)
	go func() { resumed <- s.Resume(t.Context()) }()
	wait.Until(t, "the server finds its port taken", func() bool { return strings.Contains(s.logSince(0), "could not bind") })
	check(t, squatter.Close())
	check(t, <-resumed)
	query(t, s.URL(), "SELECT 1")

	// Start chooses another port.
	check(t, s.Halt(Fast))
	squatter, err := net.Listen("tcp4", "127.0.0.1:0")
	check(t, err)
	defer squatter.Close()
	taken := squatter.Addr().(*net.TCPAddr).Port
	asked := 0
	check(t, s.launch(t.Context(), func() (int, error) {
		if asked++; asked == 1 {
			return taken, nil
		}
		return freePort() // another process may take this port too, before the server does
	}))
	if asked < 2 || s.port == taken {
		t.Errorf("the server runs on port %d after asking %d times, want another one than %d", s.port, asked, taken)
	}
	query(t, s.URL(), "SELECT 1")
}

// The server belongs to the process, not to the variable. While the server
// runs, the garbage collector must not close its watchdog's pipe. After the
// server has ended, the pipe is collected and nothing is left.
func TestUnreferencedServerStays(t *testing.T) {
	t.Parallel()
	address, dir, pid, pipe := func() (string, string, int, weak.Pointer[os.File]) {
		s, err := Start(t.Context(), Config{})
		check(t, err)
		return s.URL(), s.Dir(), s.PID(), weak.Make(s.watchdog.hold)
	}()
	for range 3 {
		runtime.GC()
		if pipe.Value() == nil {
			t.Error("the pipe of a running server was collected")
		}
		query(t, address, "SELECT 1")
	}
	check(t, syscall.Kill(pid, syscall.SIGQUIT))
	wait.Until(t, "the folder of the forgotten server is deleted", func() bool {
		runtime.GC()
		return !exists(dir)
	})
}

func TestServerThatDoesNotStart(t *testing.T) {
	t.Parallel()
	s, err := Start(t.Context(), Config{Settings: map[string]string{"work_mem": "plenty"}})
	if err == nil {
		check(t, s.Close())
		t.Fatal("a server with an invalid setting started")
	}
	for _, want := range []string{"exited during its start", `invalid value for parameter "work_mem": "plenty"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
}

func TestStartRespectsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := Start(ctx, Config{}); err == nil {
		check(t, s.Close())
		t.Error("started with a cancelled context")
	}
}
