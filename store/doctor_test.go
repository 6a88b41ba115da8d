package store_test

import (
	"fmt"
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
)

// What is in force for this role in this database counts, not what the server
// has for a default.
func TestServer(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	exec(t, pgtest.Pool(t, url), `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = local', current_database()); END $$`)
	pool, err := store.OpenPool(t.Context(), url, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	s := storeOn(t, pool)
	server, err := s.Server(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if server.SynchronousCommit != "local" || server.Encoding != "UTF8" || server.VersionNumber < 140000 || server.StandbyNames != "" ||
		server.Fsync == "" || server.FullPageWrites == "" || server.Version == "" || server.Role == "" || server.Database == "" {
		t.Errorf("%+v", server)
	}

	offset, within, err := s.ClockOffset(t.Context())
	if err != nil || within <= 0 || offset.Abs() > within+time.Second {
		t.Errorf("on one machine the clocks differ by %s, give or take %s, %v", offset, within, err)
	}
}

func TestComplaints(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	complain := func() string {
		t.Helper()
		c, err := s.Complaints(t.Context(), 4*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(c)
	}
	if _, err := s.RegisterJobTypes(t.Context(), []store.JobType{{Kind: "book", Queue: "default"}}); err != nil {
		t.Fatal(err)
	}
	recordAll(t, s, delivery(1, "book"), delivery(2, "book"))
	exec(t, s.Pool(), `INSERT INTO lumin.replays (status) VALUES ('failed')`)
	exec(t, s.Pool(), `INSERT INTO lumin.river_queue (name, updated_at) VALUES ('default', now())`)
	if got, want := complain(), "{[] [] 0 [] []}"; got != want {
		t.Errorf("complains without reason: %s", got)
	}

	recordAll(t, s, delivery(3, "renamed"))
	exec(t, s.Pool(), `UPDATE lumin.river_queue SET paused_at = now()`)
	exec(t, s.Pool(), `UPDATE lumin.runs SET pending_since = now() - interval '5 hours' WHERE job_kind = 'book'`)
	exec(t, s.Pool(), `UPDATE lumin.replays SET created_at = now() - interval '2 minutes'`)
	exec(t, s.Pool(), `SELECT lumin.erase('{request-1}', 'recently')`)
	exec(t, s.Pool(), `SELECT lumin.erase('{request-1}', 'long ago')`)
	exec(t, s.Pool(), `UPDATE lumin.erasures SET created_at = now() - interval '11 minutes' WHERE id = 2`)
	if got, want := complain(), "{[renamed] [default] 2 [1] [2]}"; got != want {
		t.Errorf("complains of %s, want %s", got, want)
	}
	exec(t, s.Pool(), `UPDATE lumin.replays SET state = 'running'`)
	if got, want := complain(), "{[renamed] [default] 2 [] [2]}"; got != want {
		t.Errorf("complains of %s, want %s", got, want)
	}
}
