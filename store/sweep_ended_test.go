package store_test

import (
	"testing"

	"lumin-ingest/store"
)

// Each sweep of ended jobs continues where the one before ended, and begins anew after
// the last. So each job is checked within the hour, also one that ended behind the
// position by the clock of another machine.
func TestSweepEndedPages(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var all []store.Delivery
	for n := range 20 {
		all = append(all, delivery(n, "book"))
	}
	recordAll(t, s, all...)
	tx := begin(t, s)
	exec(t, tx, `SELECT FROM lumin.runs FOR UPDATE`)
	for _, d := range all[:19] {
		finalize(t, s, d, "discarded", "error")
	}
	finalize(t, s, all[19], "cancelled", "error")
	exec(t, s.Pool(), `UPDATE lumin.river_job SET finalized_at = now() - interval '1 minute' + interval '1 s' * id`)
	// The last four discarded jobs ended at once, and the first one long ago.
	exec(t, s.Pool(), `UPDATE lumin.river_job SET finalized_at = now() WHERE state = 'discarded' AND id > (SELECT max(id) - 5 FROM lumin.river_job)`)
	const old = `UPDATE lumin.river_job SET finalized_at = now() - interval '30 minutes' WHERE args ->> 'event_key' = $1`
	exec(t, s.Pool(), `UPDATE lumin.river_job SET finalized_at = now() - interval '2 hours' WHERE args ->> 'event_key' = $1`, all[0].Envelope.Key().String())
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	pass := func() (settled, pages int) {
		t.Helper()
		for at := (store.EndedPosition{}); pages < 20; {
			n, next, err := s.SweepEndedPage(t.Context(), at, 3)
			if err != nil {
				t.Fatal(err)
			}
			if settled, pages, at = settled+n, pages+1, next; at == (store.EndedPosition{}) {
				break
			}
			if pages == 1 {
				exec(t, s.Pool(), old, all[0].Envelope.Key().String()) // now within the hour, behind the position
			}
		}
		return settled, pages
	}
	if settled, pages := pass(); settled != 19 || pages < 4 || pages > 7 {
		t.Errorf("%d runs settled in %d pages, want 19", settled, pages)
	}
	if settled, pages := pass(); settled != 1 || pages < 4 || pages > 7 {
		t.Errorf("%d runs settled in %d pages of the next pass, want 1", settled, pages)
	}
	wantState(t, s, all[18], "book", "failed 0")
	wantState(t, s, all[19], "book", "cancelled 0")
}
