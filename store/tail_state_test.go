package store_test

import (
	"encoding/json"
	"testing"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
)

// resumed is a tail whose state is kept as JSON between two calls of Next.
type resumed struct {
	store *store.Store
	text  []byte
}

func (r *resumed) next(tb testing.TB) []int64 {
	tb.Helper()
	t := r.tail(tb)
	events, err := t.Next(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	r.keep(tb, t)
	return idsOf(events)
}

func (r *resumed) tail(tb testing.TB) *store.Tail {
	tb.Helper()
	var state store.TailState
	if err := json.Unmarshal(r.text, &state); err != nil {
		tb.Fatal(err)
	}
	t, err := r.store.ResumeTail(store.EventFilter{}, state)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func (r *resumed) keep(tb testing.TB, t *store.Tail) {
	tb.Helper()
	text, err := json.Marshal(t.State())
	if err != nil {
		tb.Fatal(err)
	}
	r.text = text
}

// Transactions stay open, and each poll finds another gap in the ids. The state keeps
// one group of ids for the same transactions, and no event is missed.
func TestTailStateWhileTransactionsStayOpen(t *testing.T) {
	t.Parallel()
	s := storeOn(t, pgtest.PoolOf(t, pgtest.New(t), 8))
	begun, _ := tail(t, s, store.EventFilter{})
	r := &resumed{store: s}
	r.keep(t, begun)
	first := begin(t, s)
	insertSome(t, first, "account", 1) // 1
	gap := func() (got []int64) {
		exec(t, s.Pool(), `SELECT nextval(pg_get_serial_sequence('lumin.events', 'id'))`)
		insertSome(t, s.Pool(), "account", 1)
		return r.next(t)
	}
	for range 5 {
		if got := gap(); len(got) != 1 {
			t.Errorf("next are %v", got)
		}
	}
	second := begin(t, s)
	insertSome(t, second, "account", 1) // 12
	for range 5 {
		gap()
	}
	r.next(t)
	if n := len(r.tail(t).State().Missing); n != 2 {
		t.Errorf("the state has %d groups: %s", n, r.text)
	}
	commit(t, second)
	if got := r.next(t); len(got) != 1 || got[0] != 12 {
		t.Errorf("next are %v", got)
	}
	if n := len(r.tail(t).State().Missing); n != 1 {
		t.Errorf("the state has %d groups: %s", n, r.text)
	}
	commit(t, first)
	if got := r.next(t); len(got) != 1 || got[0] != 1 {
		t.Errorf("next are %v", got)
	}
	if r.next(t); len(r.tail(t).State().Missing) > 0 {
		t.Errorf("still waits: %s", r.text)
	}
}

// The state of a tail never names more ids than ResumeTail accepts.
func TestTailStateIsBounded(t *testing.T) {
	t.Parallel()
	s := storeOn(t, pgtest.PoolOf(t, pgtest.New(t), 8))
	begun, _ := tail(t, s, store.EventFilter{})
	r := &resumed{store: s}
	r.keep(t, begun)
	open := begin(t, s)
	insertSome(t, open, "account", 1)
	for round := range int64(5) {
		exec(t, s.Pool(), `SELECT setval(pg_get_serial_sequence('lumin.events', 'id'), $1)`, (round+1)*60_000)
		insertSome(t, s.Pool(), "account", 1)
		if got := r.next(t); len(got) != 1 || got[0] != (round+1)*60_000+1 {
			t.Errorf("next are %v", got)
		}
	}
	insertSome(t, open, "account", 1)
	insertSome(t, s.Pool(), "account", 1)
	if got := r.next(t); len(got) != 1 || got[0] != 300_003 {
		t.Errorf("next are %v", got)
	}
	commit(t, open)
	if got := r.next(t); len(got) != 1 || got[0] != 300_002 { // and not 1, which nothing expects any more
		t.Errorf("next are %v", got)
	}
}
