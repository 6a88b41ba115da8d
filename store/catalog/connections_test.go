package catalog_test

import (
	"testing"

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
	examine := func() catalog.Connections {
		t.Helper()
		c, err := catalog.ExamineConnections(t.Context(), s.Pool())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	server := examine()
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
	if got := examine(); got.Programs != 3 || got.Needed != 64 {
		t.Errorf("two programs and an old one: %+v", got)
	}

	// Other tests of the server do not count against the limit of this database.
	storetest.Exec(t, s.Pool(), `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 5', current_database()); END $$`)
	if got, want := examine(), (catalog.Connections{Programs: 3, Needed: 64, Limit: 5, LimitOf: "database"}); got != want {
		t.Errorf("with a limit of the database: %+v, want %+v", got, want)
	}
	if got, want := examine().String(), "running programs: 3, which take up to 64 connections; others have 0 now; the database allows 5"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
