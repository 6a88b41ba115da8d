package replay_test

import (
	"context"
	"slices"
	"testing"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
)

// After a cancel half-way, the remaining runs stay failed, with their error.
func TestCancelReplay(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	var all []store.Delivery
	for n := range 10 {
		all = append(all, storetest.Delivery(n, "book"))
	}
	fail(t, s, all...)
	r := storetest.Order(t, s, replay.Filter{Status: replay.Failed})
	if n, err := takePage(t, s, r, 6, "book"); n != 6 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := claim(t, s, attempt(all[0], "book", r.ID)); err != nil {
		t.Fatal(err)
	}
	storetest.Exec(t, s.Pool(), `UPDATE lumin.river_job SET state = 'running' WHERE args ->> 'event_key' = $1 AND state = 'available'`, all[0].Envelope.Key().String())
	if got := withdraw(t, s, r.ID); got.Withdrawn != 5 || got.Enqueued != 6 {
		t.Errorf("%+v", got)
	}
	if n, err := takePage(t, s, r, 6, "book"); n != 0 || err != nil {
		t.Errorf("a cancelled order continues: %d, %v", n, err)
	}
	if got := storetest.Value[string](t, s.Pool(), `SELECT string_agg(DISTINCT concat_ws(' ', state, error), ', ' ORDER BY concat_ws(' ', state, error)) FROM lumin.runs`); got != "failed of replay 0, succeeded" {
		t.Errorf("afterwards: %s", got)
	}
	if n := liveJobs(t, s); n != 0 {
		t.Errorf("%d jobs remain", n)
	}
	if counts, err := replay.New(s).Runs(t.Context(), r.ID); err != nil || !slices.Equal(counts, []store.RunCount{{Kind: "book", State: "succeeded", Runs: 1}}) {
		t.Errorf("runs of the order: %v, %v", counts, err)
	}
	wantError(t, replay.New(s).Cancel(t.Context(), r.ID), replay.ErrEnded)
	wantError(t, replay.New(s).Cancel(t.Context(), 99), store.ErrNotFound)
	// The runs can be ordered again.
	if n := carryOut(t, s, storetest.Order(t, s, replay.Filter{Status: replay.Failed}), 100, "book"); n != 9 {
		t.Errorf("the next order replays %d, want 9", n)
	}
}

// A cancel during a page stops that page. Otherwise the page would make runs
// pending that no withdrawal restores.
func TestCancelBesidePage(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	d := storetest.Delivery(1, "book")
	fail(t, s, d)
	r := storetest.Order(t, s, replay.Filter{Status: replay.Failed})
	conn := pgtest.Conn(t, s.Pool().Config().ConnString())
	storetest.Exec(t, conn, `BEGIN`)
	storetest.Exec(t, conn, `LOCK TABLE lumin.river_job IN SHARE ROW EXCLUSIVE MODE`)
	pages, errs := make(chan replay.Page, 1), make(chan error, 1)
	go func() {
		page, err := replay.New(s).TakePage(context.WithoutCancel(t.Context()), r, storetest.ReplayJobs("book"), replay.Position{}, 1)
		pages <- page
		errs <- err
	}()
	storetest.Eventually(t, "the page waits to insert its jobs", func() bool {
		return storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'lumin.river_job'::regclass
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`) == 1
	})
	storetest.Exec(t, conn, `UPDATE lumin.replays SET state = 'cancelled'`)
	storetest.Exec(t, conn, `COMMIT`)
	if page, err := <-pages, <-errs; err != nil || page.Enqueued != 0 || !page.Exhausted {
		t.Errorf("%+v, %v", page, err)
	}
	storetest.WantState(t, s, d, "book", "failed 0")
}
