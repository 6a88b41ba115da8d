package doctor_test

import (
	"fmt"
	"testing"
	"time"

	"lumin-ingest/internal/pgopen"
	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/doctor"
	"lumin-ingest/store/internal/storetest"
)

// The settings are those for this role in this database, not the defaults of
// the server.
func TestServer(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	storetest.Exec(t, pgtest.Pool(t, url), `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = local', current_database()); END $$`)
	pool, err := pgopen.Pool(t.Context(), url, pgopen.Options{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	server, err := doctor.ExamineServer(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	if server.SynchronousCommit != "local" || server.Encoding != "UTF8" || server.VersionNumber < 140000 || server.StandbyNames != "" ||
		server.Fsync == "" || server.FullPageWrites == "" || server.Version == "" || server.Role == "" || server.Database == "" {
		t.Errorf("%+v", server)
	}
}

func TestQueueProblems(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	complain := func() string {
		t.Helper()
		c, err := doctor.ExamineQueue(t.Context(), s.Pool(), 4*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(c)
	}
	if _, err := catalog.AddJobTypes(t.Context(), s.Pool(), []catalog.JobType{{Kind: "book", Queue: "default"}}); err != nil {
		t.Fatal(err)
	}
	storetest.Record(t, s, storetest.Delivery(1, "book"), storetest.Delivery(2, "book"))
	storetest.Exec(t, s.Pool(), `INSERT INTO lumin.replays (status) VALUES ('failed')`)
	storetest.Exec(t, s.Pool(), `INSERT INTO lumin.river_queue (name, updated_at) VALUES ('default', now())`)
	if got, want := complain(), "{[] [] 0 [] []}"; got != want {
		t.Errorf("problems of a healthy database: %s", got)
	}

	storetest.Record(t, s, storetest.Delivery(3, "renamed"))
	storetest.Exec(t, s.Pool(), `UPDATE lumin.river_queue SET paused_at = now()`)
	storetest.Exec(t, s.Pool(), `UPDATE lumin.runs SET pending_since = now() - interval '5 hours' WHERE job_kind = 'book'`)
	storetest.Exec(t, s.Pool(), `UPDATE lumin.replays SET created_at = now() - interval '2 minutes'`)
	storetest.Exec(t, s.Pool(), `SELECT lumin.erase('{request-1}', 'recently')`)
	storetest.Exec(t, s.Pool(), `SELECT lumin.erase('{request-1}', 'long ago')`)
	storetest.Exec(t, s.Pool(), `UPDATE lumin.erasures SET created_at = now() - interval '11 minutes' WHERE id = 2`)
	if got, want := complain(), "{[renamed] [default] 2 [1] [2]}"; got != want {
		t.Errorf("problems %s, want %s", got, want)
	}
	storetest.Exec(t, s.Pool(), `UPDATE lumin.replays SET state = 'running'`)
	if got, want := complain(), "{[renamed] [default] 2 [] [2]}"; got != want {
		t.Errorf("problems %s, want %s", got, want)
	}
}
