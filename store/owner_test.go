package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
)

// Only jobs of a lost owner that held a lock are given back, and each one a few
// times only.
func TestGiveBack(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	self, other := pgtest.Conn(t, url), pgtest.Conn(t, url)
	job := func(kind, owner, metadata string, attempt int) {
		t.Helper()
		exec(t, self, `INSERT INTO lumin.river_job (args, kind, state, attempt, max_attempts, attempted_at, attempted_by, metadata)
			VALUES ('{}', $1, 'running', $2, 3, now(), ARRAY['first', $3], $4)`, kind, attempt, owner, metadata)
	}
	job("gone", "gone/locked", `{}`, 3)
	job("twice", "gone/locked", `{"lumin:given_back": 2}`, 1)
	job("often", "gone/locked", `{"lumin:given_back": 3}`, 1)
	job("odd", "gone/locked", `{"lumin:given_back": "x"}`, 0)
	job("cancelled", "gone/locked", `{"cancel_attempted_at": "2026-01-02T03:04:05Z"}`, 1)
	job("live", "live/locked", `{}`, 1)
	job("old", "old", `{}`, 1)
	job("held", "self/locked", `{}`, 1)
	job("held without the lock", "self", `{}`, 1)
	job("unknown", "self/locked", `{}`, 1)
	job("unknown without the lock", "self", `{}`, 1)
	exec(t, self, `INSERT INTO lumin.river_job (args, kind, state, max_attempts, attempted_at) VALUES ('{}', 'by hand', 'running', 1, now())`)

	for conn, name := range map[*pgx.Conn]string{self: "self/locked", other: "live/locked"} {
		if locked, err := store.LockOwner(t.Context(), conn, name); err != nil || !locked {
			t.Fatalf("%s: %t, %v", name, locked, err)
		}
	}
	if locked, err := store.LockOwner(t.Context(), other, "self/locked"); err != nil || locked {
		t.Errorf("locked twice: %t, %v", locked, err)
	}
	held := pgtest.Value[[]int64](t, self, `SELECT array_agg(id) FROM lumin.river_job WHERE kind LIKE 'held%'`)
	lost, err := store.LostOwners(t.Context(), self, "self/locked", held)
	if err != nil || len(lost) != 3 || lost["gone/locked"].IsZero() || lost["self/locked"].IsZero() || lost["self"].IsZero() {
		t.Fatalf("lost: %v, %v", lost, err)
	}
	job("later", "gone/locked", `{}`, 1)
	given := map[string]int{}
	lost["live/locked"] = time.Now().Add(time.Hour)
	for owner, before := range lost {
		kinds, err := store.GiveBack(t.Context(), self, owner, before, held)
		if err != nil {
			t.Fatal(err)
		}
		for kind, n := range kinds {
			given[kind] += n
		}
	}
	if got, want := fmt.Sprint(given), "map[gone:1 odd:1 twice:1 unknown:1 unknown without the lock:1]"; got != want {
		t.Errorf("given back: %s, want %s", got, want)
	}
	got := pgtest.Value[string](t, self, `
		SELECT string_agg(concat_ws(' ', kind, attempt, array_to_string(attempted_by, '+'), metadata ->> 'lumin:given_back', cardinality(errors)), ', ' ORDER BY kind)
		FROM lumin.river_job WHERE state = 'available'`)
	if want := "gone 2 first+gone/locked 1, odd 0 first+gone/locked 1, twice 0 first+gone/locked 3, unknown 0 first+self/locked 1, unknown without the lock 0 first+self 1"; got != want {
		t.Errorf("available: %s, want %s", got, want)
	}
}
