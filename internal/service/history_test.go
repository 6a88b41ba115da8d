package service

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/internal/wait"
	"lumin-ingest/migrations"
)

// What a service counts is in the database when it has stopped. Of a delivery that
// was not verified, only a count is.
func TestHistoryIsWritten(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	db := pgtest.Conn(t, url)
	s := startService(t, url, func(*Config) {})
	s.waitReady(t)
	if status := s.deliver(t, accountKey); status != http.StatusOK {
		t.Fatalf("answered %d", status)
	}
	if status := s.deliver(t, "another_account_key"); status != http.StatusUnauthorized {
		t.Fatalf("answered %d to a wrong signature", status)
	}
	wait.Within(t, 30*time.Second, "all runs have succeeded", func() bool {
		return pgtest.Value[int](t, db, `SELECT count(*) FROM lumin.runs WHERE state = 'succeeded'`) == 3
	})
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"lumin.delivery_minutes", "lumin.delivery_hours"} {
		const ofSQL = ` WHERE source = 'account' AND result = $1 AND reason = $2`
		wantNumber(t, db, 1, `SELECT deliveries FROM `+table+ofSQL, "recorded", "")
		wantNumber(t, db, 19, `SELECT cardinality(times) FROM `+table+ofSQL, "recorded", "")
		wantNumber(t, db, 1, `SELECT deliveries FROM `+table+ofSQL, "refused", "signature_mismatch")
		wantNumber(t, db, 0, `SELECT cardinality(times) FROM `+table+ofSQL, "refused", "signature_mismatch")
		wantNumber(t, db, 2, `SELECT count(*) FROM `+table)
	}
	for _, kind := range []string{"book_invoice", "count_effects", "signature_request_state"} {
		wantNumber(t, db, 1, `SELECT sum(n) FROM lumin.attempt_hours, unnest(effect_times) n WHERE kind = $1 AND outcome = 'succeeded'`, kind)
	}
	wantNumber(t, db, 0, `SELECT count(*) FROM lumin.attempt_hours WHERE kind LIKE 'lumin%'`)
}

// A program that only receives needs no more rights than those of its role, for its
// history and for each metric.
func TestHistoryAndMetricsWithRole(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	pgtest.UseRoles(t, url)
	db := pgtest.Conn(t, url)
	s := startService(t, pgtest.Login(t, url, migrations.Ingest), func(cfg *Config) { cfg.Work = false })
	s.waitReady(t)
	if status := s.deliver(t, accountKey); status != http.StatusOK {
		t.Fatalf("answered %d", status)
	}
	wait.Within(t, 30*time.Second, "all counts of the database are there", func() bool {
		_, page := s.get(t, "/metrics")
		for _, name := range []string{"lumin_database_up 1", "lumin_failed_runs{", "lumin_queued_jobs{", "lumin_open_replays ", "lumin_database_size_bytes "} {
			if !strings.Contains(page, "\n"+name) {
				return false
			}
		}
		return true
	})
	wait.Within(t, 30*time.Second, "the history is written", func() bool {
		return pgtest.Value[int](t, db, `SELECT (SELECT count(*) FROM lumin.delivery_hours) + (SELECT count(*) FROM lumin.backlog_minutes)`) >= 2
	})
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(s.log.String(), "cannot write the history") {
		t.Error("a part of the history was not written")
	}
}

// The names and help texts of the metrics follow Prometheus's conventions. Each
// family exists from the start, so that alerts can rely on it.
func TestMetricsConventions(t *testing.T) {
	t.Parallel()
	s := startService(t, pgtest.New(t), func(*Config) {})
	s.waitReady(t)
	wait.Within(t, 30*time.Second, "all counts are there", func() bool {
		_, page := s.get(t, "/metrics")
		return strings.Contains(page, "lumin_failed_runs{") && strings.Contains(page, "lumin_queued_jobs{") && strings.Contains(page, "lumin_open_replays ")
	})
	_, page := s.get(t, "/metrics")
	problems, err := promlint.New(strings.NewReader(page)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, want := range []string{
		`lumin_attempts_total{kind="book_invoice",outcome="failed"} 0`, `lumin_effect_seconds_count{kind="book_invoice"} 0`,
		`lumin_queued_jobs{queue="default"} 0`, `lumin_open_replays 0`, `lumin_retention_removed_total{part="events"} 0`,
		`lumin_housekeeping_last_success_timestamp_seconds{task="retain"} `, `lumin_housekeeping_last_success_timestamp_seconds{task="sweep"} `,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
}
