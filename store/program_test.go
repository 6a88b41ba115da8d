package store_test

import (
	"fmt"
	"testing"
	"time"

	"lumin-ingest/store"
)

func TestPrograms(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	see := func(p store.Program) {
		t.Helper()
		if err := s.SeeProgram(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	running := func() string {
		t.Helper()
		programs, err := s.Programs(t.Context(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, p := range programs {
			found = append(found, fmt.Sprint(p.Host, p.PID, p.Role, p.Version, p.Kinds, p.Receives(), p.Works(), p.LastSeen.After(p.StartedAt)))
		}
		return fmt.Sprint(found)
	}
	first := store.Program{ID: [16]byte{1}, Host: "a", PID: 10, Role: "ingest"}
	second := store.Program{ID: [16]byte{2}, Host: "b", PID: 20, Role: "worker", Version: "v2", Kinds: []string{"book", "mail"}}
	third := store.Program{ID: [16]byte{3}, Host: "c", PID: 30, Role: "all"}
	see(first)
	see(second)
	see(second)
	see(third)
	// A program of the version before writes its row without a version.
	exec(t, s.Pool(), `INSERT INTO lumin.programs (id, host, pid, role, job_kinds) VALUES (gen_random_uuid(), 'old', 1, 'all', '{}')`)
	if got, want := running(), "[a10ingest[] true false false b20workerv2[book mail] false true true c30all[] true true false old1all[] true true false]"; got != want {
		t.Errorf("running: %s, want %s", got, want)
	}

	exec(t, s.Pool(), `DELETE FROM lumin.programs WHERE host = 'old'`)

	// Not seen for a while, they do not run; not for a day, they go, and come back
	// when it was only a long sleep.
	exec(t, s.Pool(), `UPDATE lumin.programs SET last_seen = now() - interval '2 minutes' WHERE host = 'a'`)
	exec(t, s.Pool(), `UPDATE lumin.programs SET last_seen = now() - interval '25 hours' WHERE host = 'b'`)
	see(third)
	if got, want := running(), "[c30all[] true true true]"; got != want {
		t.Errorf("running: %s, want %s", got, want)
	}
	if got := value[string](t, s.Pool(), `SELECT string_agg(host, ' ' ORDER BY host) FROM lumin.programs`); got != "a c" {
		t.Errorf("rows of %s, want those of a and c", got)
	}
	see(second)
	if err := s.ForgetProgram(t.Context(), third.ID); err != nil {
		t.Fatal(err)
	}
	if got, want := running(), "[b20workerv2[book mail] false true false]"; got != want {
		t.Errorf("running: %s, want %s", got, want)
	}
}
