package replay_test

import (
	"fmt"
	"testing"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
)

// passes takes pages of at most limit runs until the order ends or waits. It returns
// the number of pages and of runs.
func passes(tb testing.TB, s *replay.Store, order replay.Order, jobs replay.Jobs, limit int) (pages, runs int, last replay.Page) {
	tb.Helper()
	for pages < 100 && !last.Exhausted && !last.Wait {
		var err error
		if last, err = s.TakePage(tb.Context(), order, jobs, last.Next, limit); err != nil {
			tb.Fatal(err)
		}
		pages++
		runs += last.Enqueued
	}
	return pages, runs, last
}

// holding makes changes in a transaction and returns a function that ends it.
func holding(tb testing.TB, s *store.Store, sql string, args ...any) (release func()) {
	tb.Helper()
	conn := pgtest.Conn(tb, s.Pool().Config().ConnString())
	storetest.Exec(tb, conn, `BEGIN`)
	storetest.Exec(tb, conn, sql, args...)
	return func() { storetest.Exec(tb, conn, `ROLLBACK`) }
}

// No page goes through more than a window of runs, also at the end of an order, when
// no run matches. So an order on a large table ends.
func TestReplayPageIsBounded(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	for n := range 12 {
		succeed(t, s, n)
	}
	replays, jobs := replay.New(s).WithWindows(5), storetest.ReplayJobs("book")
	none := storetest.Order(t, s, replay.Filter{Status: replay.Succeeded, Sources: []string{"app:none"}})
	if pages, runs, last := passes(t, replays, none, jobs, 0); pages != 3 || runs != 0 || !last.Exhausted {
		t.Errorf("%d pages, %d runs, %+v", pages, runs, last)
	}
	all := storetest.Order(t, s, replay.Filter{Status: replay.Succeeded, Kinds: []string{"book"}})
	if pages, runs, last := passes(t, replays, all, jobs, 3); pages > 8 || runs != 12 || !last.Exhausted {
		t.Errorf("%d pages, %d runs, %+v", pages, runs, last)
	}
	// The runs of one event are looked up.
	one := storetest.Order(t, s, replay.Filter{Status: replay.Succeeded, EventIDs: []int64{1}})
	if pages, _, last := passes(t, replays, one, jobs, 0); pages != 1 || !last.Exhausted {
		t.Errorf("%d pages for one event, %+v", pages, last)
	}
}

// A run that another transaction holds keeps its order open, in whichever page it is.
func TestReplayWaitsForHeldRun(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		filter  replay.Filter
		prepare string
		held    string
	}{
		"failed":    {replay.Filter{Status: replay.Failed}, `UPDATE lumin.runs SET state = 'failed', finished_at = now()`, `SELECT FROM lumin.runs WHERE event_key = $1 FOR UPDATE`},
		"succeeded": {replay.Filter{Status: replay.Succeeded, Kinds: []string{"book"}}, `UPDATE lumin.runs SET state = 'succeeded', finished_at = now()`, `SELECT FROM lumin.events WHERE event_key = $1 FOR UPDATE`},
		"retrying":  {replay.Filter{Status: replay.Retrying}, `UPDATE lumin.river_job SET state = 'retryable', attempted_at = now() WHERE kind = 'book'`, `SELECT FROM lumin.runs WHERE event_key = $1 FOR UPDATE`},
		"missing":   {replay.Filter{Status: replay.Missing, Kinds: []string{"book"}}, `DELETE FROM lumin.runs`, `SELECT FROM lumin.events WHERE event_key = $1 FOR UPDATE`},
		"late":      {replay.Filter{Status: replay.Late}, `WITH gone AS (DELETE FROM lumin.runs) UPDATE lumin.events SET late = true`, `SELECT FROM lumin.events WHERE event_key = $1 FOR UPDATE`},
	} {
		for _, limit := range []int{0, 2} {
			t.Run(fmt.Sprintf("%s, page of %d", name, limit), func(t *testing.T) {
				t.Parallel()
				s := storetest.New(t)
				var all []store.Delivery
				for n := range 10 {
					all = append(all, storetest.Delivery(n, "book"))
				}
				storetest.Record(t, s, all...)
				if _, err := catalog.AddJobTypes(t.Context(), s.Pool(), []catalog.JobType{{Kind: "book", Queue: "default"}}); err != nil {
					t.Fatal(err)
				}
				storetest.Exec(t, s.Pool(), c.prepare)
				order, replays, jobs := storetest.Order(t, s, c.filter), replay.New(s).WithWindows(4), storetest.ReplayJobs("book")
				release := holding(t, s, c.held, storetest.Key(all[1]).String())
				if _, runs, last := passes(t, replays, order, jobs, limit); runs != 9 || !last.Wait || last.Exhausted {
					t.Errorf("%d runs beside the held one, %+v", runs, last)
				}
				release()
				if _, runs, last := passes(t, replays, order, jobs, limit); runs != 1 || !last.Exhausted {
					t.Errorf("%d runs afterwards, %+v", runs, last)
				}
			})
		}
	}
}
