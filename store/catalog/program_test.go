package catalog_test

import (
	"fmt"
	"testing"
	"time"

	"lumin-ingest/store/catalog"
	"lumin-ingest/store/internal/storetest"
)

func TestPrograms(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	see := func(p catalog.Program) {
		t.Helper()
		if err := catalog.Heartbeat(t.Context(), s.Pool(), p); err != nil {
			t.Fatal(err)
		}
	}
	running := func() string {
		t.Helper()
		programs, err := catalog.Programs(t.Context(), s.Pool(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, p := range programs {
			found = append(found, fmt.Sprint(p.Host, p.PID, p.Role, p.Version, p.Kinds, p.Receives(), p.Works(), p.LastSeen.After(p.StartedAt)))
		}
		return fmt.Sprint(found)
	}
	first := catalog.Program{ID: [16]byte{1}, Host: "a", PID: 10, Role: "ingest"}
	second := catalog.Program{ID: [16]byte{2}, Host: "b", PID: 20, Role: "worker", Version: "v2", Kinds: []string{"book", "mail"}}
	third := catalog.Program{ID: [16]byte{3}, Host: "c", PID: 30, Role: "all"}
	see(first)
	see(second)
	see(second)
	see(third)
	// A program of the version before writes its row without a version.
	storetest.Exec(t, s.Pool(), `INSERT INTO lumin.programs (id, host, pid, role, job_kinds) VALUES (gen_random_uuid(), 'old', 1, 'all', '{}')`)
	if got, want := running(), "[a10ingest[] true false false b20workerv2[book mail] false true true c30all[] true true false old1all[] true true false]"; got != want {
		t.Errorf("running: %s, want %s", got, want)
	}

	storetest.Exec(t, s.Pool(), `DELETE FROM lumin.programs WHERE host = 'old'`)

	// Programs that were not seen for a while do not count as running. After a
	// day their rows are deleted. A program that only slept gets a new row.
	storetest.Exec(t, s.Pool(), `UPDATE lumin.programs SET last_seen = now() - interval '2 minutes' WHERE host = 'a'`)
	storetest.Exec(t, s.Pool(), `UPDATE lumin.programs SET last_seen = now() - interval '25 hours' WHERE host = 'b'`)
	see(third)
	if got, want := running(), "[c30all[] true true true]"; got != want {
		t.Errorf("running: %s, want %s", got, want)
	}
	if got := storetest.Value[string](t, s.Pool(), `SELECT string_agg(host, ' ' ORDER BY host) FROM lumin.programs`); got != "a c" {
		t.Errorf("rows of %s, want those of a and c", got)
	}
	see(second)
	if err := catalog.Forget(t.Context(), s.Pool(), third.ID); err != nil {
		t.Fatal(err)
	}
	if got, want := running(), "[b20workerv2[book mail] false true false]"; got != want {
		t.Errorf("running: %s, want %s", got, want)
	}
}
