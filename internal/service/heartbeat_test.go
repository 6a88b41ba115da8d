package service

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/pgopen"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/testlog"
	"lumin-ingest/internal/wait"
	"lumin-ingest/store/catalog"
)

// Each program has a row while it runs, in every role. One that only receives
// registers its job types too.
func TestProgramHasRow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		role         string
		ingest, work bool
	}{{"all", true, true}, {"ingest", true, false}, {"worker", false, true}} {
		t.Run(c.role, func(t *testing.T) {
			t.Parallel()
			url := pgtest.New(t)
			db := pgtest.Conn(t, url)
			i := startService(t, url, func(cfg *Config) { cfg.Ingest, cfg.Work = c.ingest, c.work })
			wait.Within(t, 30*time.Second, "it has a row", func() bool {
				return pgtest.Value[int](t, db, `SELECT count(*) FROM lumin.programs
					WHERE role = $1 AND pid > 0 AND host <> '' AND job_kinds = '{book_invoice,count_effects,signature_request_state}'`, c.role) == 1
			})
			wantNumber(t, db, 3, `SELECT count(*) FROM lumin.job_types`)
			if err := i.stop(); err != nil {
				t.Fatal(err)
			}
			wantNumber(t, db, 0, `SELECT count(*) FROM lumin.programs`)
		})
	}
}

// A heartbeat that fails is logged once, and is retried until it succeeds.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	db := pgtest.Conn(t, url)
	pool, err := pgopen.Pool(t.Context(), url, pgopen.Options{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	log := &testlog.Buffer{}
	h := &heartbeat{
		pool: pool, logger: slog.New(slog.NewTextHandler(log, nil)),
		program: catalog.Program{ID: [16]byte{1}, Host: "h", PID: 1, Role: "all"},
	}
	h.start(5 * time.Millisecond)
	beats := func() bool {
		return pgtest.Value[int](t, db, `SELECT count(*) FROM lumin.programs WHERE last_seen > started_at AND last_seen > now() - interval '1 second'`) == 1
	}
	wait.Within(t, 30*time.Second, "the row is updated", beats)

	if _, err := db.Exec(t.Context(), `ALTER TABLE lumin.programs RENAME TO hidden`); err != nil {
		t.Fatal(err)
	}
	tries := func() int64 { return pool.Stat().AcquireCount() }
	wait.Within(t, 30*time.Second, "the failure is logged", func() bool { return strings.Contains(log.String(), "lumin.programs") })
	before := tries()
	wait.Within(t, 30*time.Second, "it tries again", func() bool { return tries() > before+3 })
	if n := strings.Count(log.String(), "level=WARN"); n != 1 {
		t.Errorf("the failure was logged %d times", n)
	}
	if _, err := db.Exec(t.Context(), `ALTER TABLE lumin.hidden RENAME TO programs; UPDATE lumin.programs SET last_seen = started_at`); err != nil {
		t.Fatal(err)
	}
	wait.Within(t, 30*time.Second, "the row is updated again", beats)
	h.stop()
	wantNumber(t, db, 0, `SELECT count(*) FROM lumin.programs`)
}
