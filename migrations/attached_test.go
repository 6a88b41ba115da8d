package migrations_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
)

// A program that was killed between our migrations and the triggers leaves a
// schema that looks complete but is not.
func TestMissingTriggers(t *testing.T) {
	t.Parallel()
	address := pgtest.New(t)
	pool := pgtest.Pool(t, address)
	pgtest.Exec(t, pool, `DROP TRIGGER lumin_job_finalized ON lumin.river_job; DROP TRIGGER lumin_replay_ordered ON lumin.replays`)
	if s := status(t, pool); s.Current() || !strings.Contains(s.String(), "triggers and views are missing") {
		t.Errorf("%+v: %s", s, s)
	}
	up(t, address)
	checkTriggers(t, pool)
}

// An upgrade that ends before it has replaced the triggers, views, functions and
// rights of the older version is completed by the next one. A report that reads
// River's table holds it up exactly there.
func TestUpgradeInterruptedBeforeTriggers(t *testing.T) {
	t.Parallel()
	address := pgtest.New(t)
	pool, admin := pgtest.Pool(t, address), pgtest.Pool(t, pgtest.AdminURL(t, address))
	pgtest.UseRoles(t, address)
	wantDefinitions, wantRights := definitions(t, admin), rights(t, admin)
	down(t, address, len(versions(t))-slices.Index(versions(t), 15)-1)
	// The older version had none of these functions, views and rights.
	pgtest.Exec(t, pool, `DROP FUNCTION lumin.wake_lane; DROP VIEW lumin.failed_follow_ups; REVOKE ALL ON lumin.events FROM lumin_ingest;
		CREATE OR REPLACE FUNCTION lumin.on_replay_ordered() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`)

	report, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = report.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := report.Exec(t.Context(), `SELECT FROM lumin.river_job`); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	err = migrations.UpReporting(ctx, address, func(s migrations.Step) {
		if strings.HasPrefix(s.Name, "triggers and views waits") {
			interrupt()
		}
	})
	if err == nil {
		t.Fatal("the upgrade was not interrupted")
	}
	if s := status(t, pool); s.Version != s.Latest || s.Current() || !strings.Contains(s.String(), `older: run "migrate up"`) {
		t.Errorf("interrupted: %+v: %s", s, s)
	}
	if err := report.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}

	up(t, address)
	if s := status(t, pool); !s.Current() {
		t.Errorf("continued: %+v: %s", s, s)
	}
	if got := definitions(t, admin); got != wantDefinitions {
		t.Errorf("definitions\n%s\nwant\n%s", got, wantDefinitions)
	}
	if got := rights(t, admin); got != wantRights {
		t.Errorf("rights\n%s\nwant\n%s", got, wantRights)
	}
}

// Programs up to schema version 29 left no comment on the trigger, so it does not
// show whether their last upgrade was complete.
func TestTriggersOfUnknownVersion(t *testing.T) {
	t.Parallel()
	address := pgtest.New(t)
	pool := pgtest.Pool(t, address)
	pgtest.Exec(t, pool, `COMMENT ON TRIGGER lumin_job_finalized ON lumin.river_job IS NULL`)
	if s := status(t, pool); s.Current() || s.Attached {
		t.Errorf("%+v: %s", s, s)
	}
	up(t, address)
	if s := status(t, pool); !s.Current() {
		t.Errorf("%+v: %s", s, s)
	}
}
