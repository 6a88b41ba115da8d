package alerting

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/testlog"
	"lumin-ingest/store/alerts"
)

// An examination that takes long leaves time to store what it found. A part of a round
// that takes too long is logged.
func TestSlowRound(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	pool, conn, log := pgtest.Pool(t, url), pgtest.Conn(t, url), &testlog.Buffer{}
	s := &Sender{
		cfg:      Config{Pool: pool, Logger: slog.New(slog.NewJSONHandler(log, nil)), Every: time.Minute},
		id:       [16]byte{1},
		limit:    time.Second,
		failing:  map[string]string{},
		examiner: alerts.New(pool, alerts.Limits{}),
	}
	lock := func(table string) (unlock func()) {
		t.Helper()
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), `LOCK TABLE lumin.`+table); err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := tx.Rollback(context.Background()); err != nil {
				t.Error(err)
			}
		}
	}
	unlock := lock("river_queue") // of the condition backlog only, which takes longer than any part then
	s.round(t.Context())
	unlock()
	if text := log.String(); !strings.Contains(text, "cannot examine the condition backlog") || strings.Contains(text, "cannot store") {
		t.Error(text)
	}
	pgtest.Exec(t, conn, `INSERT INTO lumin.programs (id, host, pid, role, job_kinds, stuck) VALUES (gen_random_uuid(), 'h', 1, 'ingest', '{}', '{x}')`)
	unlock = lock("alerts")
	s.finish(t.Context(), nil)
	unlock()
	if log.First("cannot store alerts; the program goes on") == nil {
		t.Error(log.String())
	}
}
