package migrations_test

import (
	"slices"
	"strings"
	"testing"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
)

// PUBLIC may execute the functions, so none may have other rights than its caller.
func TestFunctionsHaveRightsOfCaller(t *testing.T) {
	t.Parallel()
	conn := pgtest.Conn(t, pgtest.New(t))
	if names := pgtest.Value[[]string](t, conn, `SELECT ARRAY(SELECT proname::text FROM pg_proc WHERE pronamespace = 'lumin'::regnamespace AND prosecdef)`); len(names) > 0 {
		t.Errorf("%v are SECURITY DEFINER", names)
	}
}

// A login with grants of its own keeps working when the database begins to use
// the roles and after a migration. Only recreated views are lost to it. If it
// lacks a right that the trigger needs, River can still complete its jobs.
func TestLoginWithGrantsOfItsOwn(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	admin := pgtest.Conn(t, pgtest.AdminURL(t, url))
	login := pgtest.Conn(t, pgtest.Login(t, url))
	missing := func() []string {
		access, err := migrations.ReadAccess(t.Context(), login, migrations.Worker)
		if err != nil {
			t.Fatal(err)
		}
		return access.Missing
	}
	pgtest.Exec(t, admin, strings.Join(missing(), "; "))
	pgtest.UseRoles(t, url)
	down(t, url, 1)
	up(t, url)
	lost := missing()
	for i := range lost {
		lost[i], _, _ = strings.Cut(lost[i], " TO ")
	}
	// Tables of the newest migration are new to the login.
	lost = slices.DeleteFunc(lost, func(grant string) bool { return strings.Contains(grant, " ON lumin.alert") })
	if want := []string{"GRANT SELECT ON lumin.event_status", "GRANT SELECT ON lumin.failed_follow_ups", "GRANT SELECT ON lumin.queue_health"}; !slices.Equal(lost, want) {
		t.Errorf("after a migration it lacks %q, want %q", lost, want)
	}
	const fails, succeeds = "018a8ca2-3c4d-8e5f-a012-3456789abcde", "018a8ca2-3c4d-8e5f-a012-3456789abcdf"
	complete := func() (states string) {
		pgtest.Exec(t, admin, `TRUNCATE lumin.runs, lumin.river_job`)
		for _, key := range []string{fails, succeeds} {
			pgtest.Exec(t, login, `INSERT INTO lumin.runs (event_key, job_kind, event_id) VALUES ('`+key+`', 'book', 1)`)
			pgtest.Exec(t, login, `INSERT INTO lumin.river_job (args, kind, max_attempts, state) VALUES ('{"event_key": "`+key+`", "replay_id": 0}', 'book', 1, 'running')`)
		}
		pgtest.Exec(t, login, `UPDATE lumin.river_job SET finalized_at = now(),
			state = CASE args ->> 'event_key' WHEN '`+fails+`' THEN 'discarded' ELSE 'completed' END::lumin.river_job_state`)
		return pgtest.Value[string](t, login, `SELECT string_agg(state, ' ' ORDER BY event_key) FROM lumin.runs`)
	}
	if states := complete(); states != "failed pending" { // a job settles its own run when it succeeds
		t.Errorf("after a migration the runs are %s", states)
	}
	for _, function := range []string{"run_key(jsonb)", "settle_failure(uuid, text, bigint, bigint, text, integer, jsonb[])"} {
		pgtest.Exec(t, admin, `REVOKE EXECUTE ON FUNCTION lumin.`+function+` FROM PUBLIC`)
		if states := complete(); states != "pending pending" {
			t.Errorf("without EXECUTE on %s the runs are %s", function, states)
		}
		pgtest.Exec(t, admin, `GRANT EXECUTE ON FUNCTION lumin.`+function+` TO PUBLIC`)
	}
}
