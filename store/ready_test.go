package store_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
)

// notReady checks for an error that contains a word.
func notReady(tb testing.TB, err error, word string) {
	tb.Helper()
	if err == nil || !strings.Contains(err.Error(), word) {
		tb.Errorf("error %v, want one with %q", err, word)
	}
}

func TestReadyToStart(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	if err := s.ReadyToStart(t.Context(), true); err != nil {
		t.Errorf("a migrated database: %v", err)
	}
	readOnly := storeOn(t, pgtest.Pool(t, storetest.WithSetting(t, pgtest.New(t), "default_transaction_read_only", "on")))
	notReady(t, readOnly.ReadyToStart(t.Context(), true), "read-only")
	unmigrated := storeOn(t, pgtest.Pool(t, pgtest.NewEmpty(t)))
	notReady(t, unmigrated.ReadyToStart(t.Context(), true), "migrate up")
}

// Readiness reports exactly the problems that a delivery would have at this
// moment.
func TestReadiness(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		sql     string
		word    string // in the reason; empty: still ready
		repairs string
	}{
		"dirty version table":   {`UPDATE lumin.schema_migrations SET dirty = true`, "", ``},
		"newer version table":   {`UPDATE lumin.schema_migrations SET version = version + 1`, "", ``},
		"table gone":            {`ALTER TABLE lumin.redeliveries RENAME TO hidden`, "redeliveries", `ALTER TABLE lumin.hidden RENAME TO redeliveries`},
		"full disk":             {failing("events", "53100"), "disk is full", `DROP TRIGGER fail ON lumin.events`},
		"no memory for jobs":    {failing("river_job", "53200"), "made to fail", `DROP TRIGGER fail ON lumin.river_job`},
		"no redelivery counted": {failing("redeliveries", "XX000"), "made to fail", `DROP TRIGGER fail ON lumin.redeliveries`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			databaseURL := pgtest.New(t)
			s := storeOn(t, pgtest.Pool(t, databaseURL))
			admin := pgtest.Conn(t, pgtest.AdminURL(t, databaseURL))
			exec(t, admin, `CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
				$$ BEGIN RAISE EXCEPTION 'made to fail' USING ERRCODE = TG_ARGV[0]; END $$`)
			r := newRecorder(t, s)
			ready, works := store.NewReadiness(r), store.NewWorkReadiness(s)
			exec(t, admin, test.sql)
			if test.word == "" {
				mustRecord(t, r, delivery(1))
				if err := ready.Ready(t.Context()); err != nil {
					t.Error(err)
				}
				return
			}
			notReady(t, ready.Ready(t.Context()), test.word)
			notReady(t, works.Ready(t.Context()), test.word)
			exec(t, admin, test.repairs)
			eventually(t, "it is ready again without any delivery", func() bool {
				return ready.Ready(t.Context()) == nil && works.Ready(t.Context()) == nil
			})
		})
	}
}

// failing makes every insertion into a table fail with a SQLSTATE.
func failing(table, code string) string {
	return `CREATE TRIGGER fail BEFORE INSERT ON lumin.` + table + ` FOR EACH ROW EXECUTE FUNCTION fail('` + code + `')`
}

// readyAtOnce checks that 50 simultaneous callers are ready.
func readyAtOnce(t *testing.T, ready *store.Readiness) {
	t.Helper()
	var callers sync.WaitGroup
	for range 50 {
		callers.Go(func() {
			if err := ready.Ready(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
}

// A successful recording replaces the probe. A failure of the database requires
// one. An error of one delivery, or a lock on its event, has no effect.
func TestReadinessFromRecording(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := newRecorder(t, s)
	ready := store.NewReadiness(r)
	ids := func() int64 {
		return value[int64](t, s.Pool(), `SELECT last_value FROM lumin.river_job_id_seq`)
	}
	exec(t, s.Pool(), `CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION 'made to fail' USING ERRCODE = TG_ARGV[0]; END $$`)
	exec(t, s.Pool(), `CREATE TRIGGER fail BEFORE INSERT ON lumin.events FOR EACH ROW
		WHEN (NEW.signature_request_id = 'request-1') EXECUTE FUNCTION fail('23514')`)

	first := mustRecord(t, r, delivery(2, "book"))
	before := ids()
	if _, err := r.Record(t.Context(), delivery(1)); err == nil {
		t.Error("a delivery that the database refuses is recorded")
	}
	release := holdLock(t, s, `SELECT FROM lumin.events WHERE id = $1 FOR UPDATE`, first.EventID)
	if _, err := r.Record(t.Context(), variant(2, "https://example.com/?token=2", "title")); err == nil {
		t.Error("a delivery of a locked event is recorded")
	}
	release()
	second := mustRecord(t, r, delivery(3))
	readyAtOnce(t, ready)
	if after := ids(); after != before {
		t.Errorf("%d probes although deliveries are recorded", after-before)
	}

	exec(t, s.Pool(), `DROP TRIGGER fail ON lumin.events`)
	exec(t, s.Pool(), failing("events", "53200"))
	_, err := r.Record(t.Context(), delivery(4))
	wantError(t, err, store.ErrUnavailable)
	notReady(t, ready.Ready(t.Context()), "made to fail")
	exec(t, s.Pool(), `DROP TRIGGER fail ON lumin.events`)
	before = ids()
	eventually(t, "it is ready again", func() bool { return ready.Ready(t.Context()) == nil })
	readyAtOnce(t, ready)
	if n := ids() - before; n < 1 || n > 3 {
		t.Errorf("%d probes", n)
	}
	// The probes leave no rows, and consume no id of an event.
	if got := count(t, s); got.Runs != 1 || got.Redeliveries != 0 {
		t.Errorf("the database holds %+v", got)
	}
	third := mustRecord(t, r, delivery(5))
	if third.EventID <= second.EventID || third.EventID > second.EventID+2 { // one recording failed in between
		t.Errorf("events %d, %d", second.EventID, third.EventID)
	}
}

// A role with exactly the rights that the error lists can record. The same
// holds for working.
func TestGrants(t *testing.T) {
	t.Parallel()
	for works, role := range map[bool]migrations.Role{false: migrations.Ingest, true: migrations.Worker} {
		databaseURL := pgtest.New(t)
		pgtest.UseRoles(t, databaseURL)
		admin := pgtest.Conn(t, pgtest.AdminURL(t, databaseURL))
		exec(t, admin, `REVOKE EXECUTE ON FUNCTION lumin.error_fingerprint(text) FROM PUBLIC`) // as a careful owner may
		s := storeOn(t, pgtest.Pool(t, pgtest.Login(t, databaseURL)))
		err := s.ReadyToStart(t.Context(), works)
		notReady(t, err, `must run "migrate roles" and GRANT `+string(role)+` TO login_`)
		_, list, found := strings.Cut(err.Error(), ", run: ")
		if !found {
			t.Fatal(err)
		}
		grants := strings.Split(list, "; ")
		for _, grant := range grants {
			exec(t, admin, grant)
		}
		if err := s.ReadyToStart(t.Context(), works); err != nil {
			t.Error(err)
		}
		recordAndClaim(t, s, works)
		for _, target := range []string{"lumin.runs", "lumin.redeliveries", "lumin.river_job", "SEQUENCE lumin.river_job_id_seq", "FUNCTION lumin.error_fingerprint(error text)"} {
			at := slices.IndexFunc(grants, func(g string) bool { return strings.Contains(g, " ON "+target+" TO ") })
			if at < 0 {
				t.Fatalf("%s is not in %q", target, grants)
			}
			exec(t, admin, strings.NewReplacer("GRANT ", "REVOKE ", " TO ", " FROM ").Replace(grants[at]))
			notReady(t, s.ProbeReady(t.Context(), works), "run: "+grants[at])
			exec(t, admin, grants[at])
		}
	}
}

// recordAndClaim records a delivery and a redelivery. With works it also claims
// the run.
func recordAndClaim(t *testing.T, s *store.Store, works bool) {
	t.Helper()
	storetest.Register(t, s, "book")
	r := newRecorder(t, s)
	mustRecord(t, r, delivery(1, "book"))
	mustRecord(t, r, variant(1, "https://example.com/?token=2", "title", "book"))
	if !works {
		return
	}
	tx := storetest.Begin(t, s)
	if _, err := s.ClaimTx(t.Context(), tx, attempt(delivery(1), "book", 0)); err != nil {
		t.Error(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Error(err)
	}
}

// A member of a role is ready. If the role lacks a right, "migrate roles" gives
// it again.
func TestRoleWithoutRight(t *testing.T) {
	t.Parallel()
	for works, role := range map[bool]migrations.Role{false: migrations.Ingest, true: migrations.Worker} {
		databaseURL := pgtest.New(t)
		pgtest.UseRoles(t, databaseURL)
		s := storeOn(t, pgtest.Pool(t, pgtest.Login(t, databaseURL, role)))
		if err := s.ReadyToStart(t.Context(), works); err != nil {
			t.Error(err)
		}
		recordAndClaim(t, s, works)
		exec(t, pgtest.Conn(t, databaseURL), `REVOKE INSERT ON lumin.runs FROM `+string(role))
		notReady(t, s.ProbeReady(t.Context(), works), `must run "migrate roles"; or, to do without`)
		pgtest.UseRoles(t, databaseURL)
		if err := s.ProbeReady(t.Context(), works); err != nil {
			t.Error(err)
		}
	}
}

// A locked table and a hanging commit are detected in time. The probe leaves no
// session on the server.
func TestReadinessInTime(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ready := store.NewReadiness(newRecorder(t, s))
	release := lockEvents(t, s)
	start := time.Now()
	notReady(t, ready.Ready(t.Context()), "locked one of the tables")
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("answered after %s", took)
	}
	release()
	exec(t, s.Pool(), `CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$`)
	exec(t, s.Pool(), `CREATE TRIGGER hang AFTER INSERT ON lumin.runs EXECUTE FUNCTION hang()`)
	eventually(t, "the probe takes too long", func() bool {
		err := ready.Ready(t.Context())
		return err != nil && strings.Contains(err.Error(), "took longer than 2.8s")
	})
	eventually(t, "the server has ended the probe", func() bool {
		return value[int](t, s.Pool(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'`) <= 1
	})
}
