package app

import (
	"context"
	"strings"
	"testing"
	"time"

	"lumin-ingest/internal/sample"
	"lumin-ingest/internal/service"
	"lumin-ingest/lumin"
)

// The database is read-only for a while, as during a failover or maintenance.
// The program recovers within 15 seconds. It needs no delivery for that: a load
// balancer sends none to a program that is not ready.
func TestReadOnlyForAWhile(t *testing.T) {
	t.Parallel()
	_, url := startServer(t)
	receives := startInstance(t, url, func(cfg *service.Config) { cfg.Work = false })
	works := startInstance(t, url, func(cfg *service.Config) { cfg.Ingest = false })
	receives.waitReady(t)
	works.waitReady(t)
	db := connect(t, url)
	defer db.Close(context.Background())
	exec := func(sql string) {
		t.Helper()
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	// Sessions keep the setting with which they began, as on a standby.
	exec(`SET default_transaction_read_only = off`) // of this session
	exec(`ALTER DATABASE postgres SET default_transaction_read_only = on`)
	exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	for _, i := range []*instance{receives, works} {
		eventually(t, 15*time.Second, "/readyz says that the database is read-only", func() bool {
			status, why := i.ready()
			return status == 503 && strings.Contains(why, "read-only")
		})
	}
	eventually(t, 30*time.Second, "the workers have had errors for a while", func() bool {
		return strings.Count(works.log.String(), "read-only") > 30
	})
	exec(`ALTER DATABASE postgres RESET default_transaction_read_only`)
	start := time.Now()
	receives.waitReady(t)
	works.waitReady(t)
	b := body(sample.Delivery{EventType: lumin.SignatureRequestSigned})
	if r := mustPost(t, receives.accountURL(), b, lumin.Sign(b, sample.AccountKey)); r.code != 200 {
		t.Errorf("answered %d %s", r.code, r.body)
	}
	waitSettled(t, db)
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("it took %s", took)
	}
	wantNumber(t, db, 1, `SELECT count(*) FROM lumin_test.effects`)
	settled := strings.Count(works.log.String(), "read-only")
	exec(`UPDATE lumin.river_job SET state = 'scheduled', finalized_at = NULL, scheduled_at = now() + interval '6 seconds' WHERE kind = 'count_effects'`)
	eventually(t, 25*time.Second, "a job that is due later is worked", func() bool {
		var left int
		err := db.QueryRow(t.Context(), `SELECT count(*) FROM lumin.river_job WHERE state = 'scheduled'`).Scan(&left)
		return err == nil && left == 0
	})
	if more := strings.Count(works.log.String(), "read-only") - settled; more > 0 {
		t.Errorf("%d more errors afterwards", more)
	}
}
