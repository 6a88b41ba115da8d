package store_test

import (
	"testing"

	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
	"lumin-ingest/worker"
)

// A program from before migration 0010 counts in the column again. Its replays
// give this program the next idempotency key, and replays of this program give
// it to the older one.
func TestRerunOfOlderProgram(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := delivery(1, "book")
	receipt := recordAll(t, s, d)[0]
	key := d.Envelope.Key()
	claimed := func(replayID int64) *worker.Event {
		t.Helper()
		e, err := claim(t, s, attempt(d, "book", replayID))
		if err != nil {
			t.Fatal(err)
		}
		return (*worker.Event)(e)
	}
	if e := claimed(0); e.Rerun != 0 || e.IdempotencyKey() != key.Derive("book").String() {
		t.Errorf("rerun %d, key %s", e.Rerun, e.IdempotencyKey())
	}
	// The statement of an older program's replay page.
	exec(t, s.Pool(), `UPDATE lumin.runs r SET state = 'pending', replay_id = 5, job_id = NULL, pending_since = now(), finished_at = NULL,
		again = r.again + (r.state = 'succeeded')::int`)
	if e := claimed(5); e.Rerun != 1 || e.IdempotencyKey() != key.Derive("book/1").String() {
		t.Errorf("after an older program's replay: rerun %d, key %s", e.Rerun, e.IdempotencyKey())
	}
	exec(t, s.Pool(), `ALTER TABLE lumin.replays ALTER COLUMN id RESTART WITH 6`)
	r := storetest.Order(t, s, replay.Filter{Status: replay.Succeeded, EventIDs: []int64{receipt.EventID}})
	if n := allPages(t, s, r, storetest.ReplayJobs("book")); n != 1 {
		t.Fatalf("%d runs replayed", n)
	}
	if n := value[int](t, s.Pool(), `SELECT again FROM lumin.runs`); n != 2 {
		t.Errorf("an older program reads %d, want 2", n)
	}
}
