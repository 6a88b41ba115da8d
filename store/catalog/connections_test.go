package catalog_test

import (
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/migrations"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/internal/storetest"
)

func TestEnoughConnections(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		connections catalog.Connections
		want        bool
	}{
		{catalog.Connections{Needed: 40, Others: 57, Limit: 97}, true},
		{catalog.Connections{Needed: 41, Others: 57, Limit: 97}, false},
		{catalog.Connections{Needed: 120, Limit: 97}, false},
	} {
		if got := c.connections.Enough(); got != c.want {
			t.Errorf("%+v: %v, want %v", c.connections, got, c.want)
		}
	}
}

// The limit that counts is the one that leaves the fewest connections. Programs
// that have gone do not count.
func TestConnections(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	server := examine(t, s.Pool())
	if server.LimitOf != "server" || server.Limit < 10 || server.Programs != 0 || server.Needed != 0 {
		t.Errorf("without programs: %+v", server)
	}
	for i, connections := range []int{24, 40, 0} {
		if err := catalog.Heartbeat(t.Context(), s.Pool(), catalog.Program{ID: [16]byte{byte(i)}, Role: "all", Connections: connections}); err != nil {
			t.Fatal(err)
		}
	}
	storetest.Exec(t, s.Pool(), `INSERT INTO lumin.programs (id, host, pid, role, job_kinds, connections, last_seen)
		VALUES (gen_random_uuid(), 'gone', 1, 'all', '{}', 1000, now() - interval '2 minutes')`)
	if got := examine(t, s.Pool()); got.Programs != 3 || got.Needed != 64 {
		t.Errorf("two programs and an old one: %+v", got)
	}

	// Other tests of the server do not count against the limit of this database.
	storetest.Exec(t, s.Pool(), `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 5', current_database()); END $$`)
	if got, want := examine(t, s.Pool()), (catalog.Connections{Programs: 3, Needed: 64, Limit: 5, LimitOf: "database"}); got != want {
		t.Errorf("with a limit of the database: %+v, want %+v", got, want)
	}
	if got, want := examine(t, s.Pool()).String(), "running programs: 3, which take up to 64 connections; others have 0 now; the database allows 5"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// examine returns the connections that a login sees.
func examine(t *testing.T, pool *pgxpool.Pool) catalog.Connections {
	t.Helper()
	c, err := catalog.ExamineConnections(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// named returns the URL of a database with another application_name.
func named(t *testing.T, address, application string) string {
	t.Helper()
	return storetest.WithSetting(t, address, "application_name", application)
}

// The sessions of programs are no sessions of others, whatever the logins of the
// programs.
func TestConnectionsOfSeveralLogins(t *testing.T) {
	t.Parallel()
	database := pgtest.New(t)
	pgtest.UseRoles(t, database)
	pgtest.Exec(t, pgtest.Conn(t, database), `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 20', current_database()); END $$`)
	ingest, worker := pgtest.Login(t, database, migrations.Ingest), pgtest.Login(t, database, migrations.Worker)
	pool := pgtest.PoolOf(t, named(t, ingest, "lumin-ingest"), 1)
	before := examine(t, pool).Others
	for range 5 {
		pgtest.Conn(t, named(t, worker, "lumin-ingest"))
	}
	if got := examine(t, pool); got.LimitOf != "database" || got.Limit != 20 || got.Others != before {
		t.Errorf("with sessions of a worker: %+v, want %d others", got, before)
	}
	pgtest.Conn(t, named(t, worker, "psql"))
	if got := examine(t, pool); got.Others != before+1 {
		t.Errorf("with a session of another program: %+v, want %d others", got, before+1)
	}
}

// A limit of one login counts only while all programs have this login.
func TestConnectionLimitOfOneLogin(t *testing.T) {
	t.Parallel()
	database := pgtest.New(t)
	pgtest.UseRoles(t, database)
	one := pgtest.Login(t, database, migrations.Ingest)
	pgtest.Exec(t, pgtest.Conn(t, pgtest.AdminURL(t, database)), `ALTER ROLE `+loginOf(t, one)+` CONNECTION LIMIT 3`)
	pool := pgtest.PoolOf(t, named(t, one, "lumin-ingest"), 1)
	if got := examine(t, pool); got.LimitOf != "role" || got.Limit != 3 || got.Others != 0 {
		t.Errorf("with one login: %+v", got)
	}
	pgtest.Conn(t, named(t, pgtest.Login(t, database, migrations.Worker), "lumin-ingest"))
	if got := examine(t, pool); got.LimitOf == "role" {
		t.Errorf("with two logins: %+v", got)
	}
}

func loginOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.User.Username()
}
