//go:build unix

package pgdev

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/wait"
)

// A standby follows its primary, is promoted, and gets its own standby.
func TestStandby(t *testing.T) {
	t.Parallel()
	primary := startServer(t, Config{})
	execute(t, primary.URL(), `CREATE TABLE t (n int); INSERT INTO t VALUES (1)`)
	standby := follow(t, primary)
	if got := query(t, standby.URL(), `SELECT pg_is_in_recovery()`); got != "true" {
		t.Errorf("the copy is a standby: %s", got)
	}
	execute(t, primary.URL(), `INSERT INTO t VALUES (2)`)
	wait.Until(t, "the standby has the row", func() bool {
		return query(t, standby.URL(), `SELECT count(*) FROM t`) == "2"
	})
	check(t, primary.Halt(Kill))
	check(t, standby.Promote(t.Context()))
	execute(t, standby.URL(), `INSERT INTO t VALUES (3)`)
	check(t, standby.Halt(Fast))
	check(t, standby.Resume(t.Context())) // a resumed primary stays a primary
	next := follow(t, standby)
	wait.Until(t, "the next standby has all rows", func() bool {
		return query(t, next.URL(), `SELECT count(*) FROM t`) == "3"
	})
	if _, err := StartStandby(t.Context(), standby, "it's"); err == nil {
		t.Error("a malformed name was accepted")
	}
}

func follow(t *testing.T, primary *Server) *Server {
	t.Helper()
	if _, err := os.Stat(primary.programs.basebackup()); err != nil {
		t.Skipf("%v: standbys are NOT tested", err)
	}
	standby, err := StartStandby(t.Context(), primary, "follower")
	check(t, err)
	t.Cleanup(func() { check(t, standby.Close()) })
	wait.Until(t, "the primary streams to it", func() bool {
		return query(t, primary.URL(), `SELECT count(*) FROM pg_stat_replication WHERE application_name = 'follower' AND state = 'streaming'`) == "1"
	})
	return standby
}

func TestPause(t *testing.T) {
	t.Parallel()
	s := startServer(t, Config{})
	conn, err := pgx.Connect(t.Context(), s.URL())
	check(t, err)
	defer conn.Close(context.Background())
	check(t, s.Pause(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := conn.Ping(ctx); err == nil {
		t.Error("a paused server answers")
	}
	s.Continue()
	s.Continue()
	if got := query(t, s.URL(), `SELECT 1`); got != "1" {
		t.Errorf("SELECT after Continue = %s", got)
	}
	for _, mode := range []ShutdownMode{Fast, Immediate, Kill} {
		check(t, s.Pause(t.Context()))
		check(t, s.Halt(mode))
		if err := s.Pause(t.Context()); err == nil {
			t.Error("a halted server was paused")
		}
		check(t, s.Resume(t.Context()))
	}
	check(t, s.Pause(t.Context())) // Close must end the paused server
}

// Both methods of listing processes find the same backend.
func TestKillBackend(t *testing.T) {
	t.Parallel()
	s := startServer(t, Config{})
	conn, err := pgx.Connect(t.Context(), s.URL())
	check(t, err)
	defer conn.Close(context.Background())
	var pid int
	check(t, conn.QueryRow(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid))
	if err := s.KillBackend(t.Context(), s.PID()); err == nil {
		t.Error("the main process was taken for a backend")
	}
	if found, err := childrenInProc(s.PID()); err == nil && len(found) > 0 {
		listed := false
		for _, one := range found {
			listed = listed || one == pid
		}
		if !listed {
			t.Errorf("/proc does not list backend %d: %v", pid, found)
		}
	}
	check(t, s.KillBackend(t.Context(), pid))
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("the connection of the killed backend still answers")
	}
	wait.Until(t, "the server has recovered", func() bool {
		other, err := pgx.Connect(t.Context(), s.URL())
		if err != nil {
			return false
		}
		return other.Close(t.Context()) == nil
	})
	if got := query(t, s.URL(), `SELECT `+strconv.Itoa(pid)+` IN (SELECT pid FROM pg_stat_activity)`); got != "false" {
		t.Errorf("backend %d is still there", pid)
	}
}
