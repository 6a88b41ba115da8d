package replay_test

import (
	"errors"
	"fmt"
	"testing"

	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
)

// fail records deliveries and makes all their jobs fail for good.
func fail(tb testing.TB, s *store.Store, deliveries ...store.Delivery) []store.Receipt {
	tb.Helper()
	receipts := storetest.Record(tb, s, deliveries...)
	storetest.FailAll(tb, s)
	return receipts
}

// finish checks whether an order has finished.
func finish(tb testing.TB, s *store.Store, id int64, want bool) {
	tb.Helper()
	if finished, err := replay.New(s).Finish(tb.Context(), id); err != nil || finished != want {
		tb.Errorf("order %d has finished: %t, %v", id, finished, err)
	}
}

// carryOut carries out an order in pages of the given size.
func carryOut(tb testing.TB, s *store.Store, order replay.Order, page int, kinds ...string) (runs int) {
	tb.Helper()
	return storetest.CarryOut(tb, s, order, storetest.ReplayJobs(kinds...), page)
}

// takePage takes a page of at most limit runs from the beginning, and returns
// their number. It repeats while another order of the same test has locked the
// runs.
func takePage(tb testing.TB, s *store.Store, order replay.Order, limit int, kinds ...string) (int, error) {
	tb.Helper()
	for {
		page, err := replay.New(s).TakePage(tb.Context(), order, storetest.ReplayJobs(kinds...), replay.Position{}, limit)
		if err != nil || !page.Wait {
			return page.Enqueued, err
		}
	}
}

// allPages carries out an order as a worker does, in small pages.
func allPages(tb testing.TB, s *store.Store, order replay.Order, jobs replay.Jobs) (runs int) {
	tb.Helper()
	var at replay.Position
	for range 100 {
		page, err := replay.New(s).TakePage(tb.Context(), order, jobs, at, 2)
		if err != nil {
			tb.Fatal(err)
		}
		runs += page.Enqueued
		if page.Exhausted {
			return runs
		}
		at = page.Next
	}
	tb.Fatal("the order does not end")
	return runs
}

func planned(tb testing.TB, s *store.Store, f replay.Filter) (runs int64) {
	tb.Helper()
	plan, err := replay.New(s).Plan(tb.Context(), f)
	if err != nil {
		tb.Fatal(err)
	}
	return plan.Runs()
}

// withdraw cancels an order and restores its runs.
func withdraw(tb testing.TB, s *store.Store, id int64) replay.Order {
	tb.Helper()
	replays := replay.New(s)
	if err := replays.Cancel(tb.Context(), id); err != nil {
		tb.Fatal(err)
	}
	order, err := replays.Get(tb.Context(), id)
	if err != nil {
		tb.Fatal(err)
	}
	for after, finished := int64(0), false; !finished; {
		if after, finished, err = replays.WithdrawPage(tb.Context(), order, after); err != nil {
			tb.Fatal(err)
		}
	}
	if order, err = replays.Get(tb.Context(), id); err != nil || order.State != "cancelled" || !order.Finished() {
		tb.Fatalf("cancelled: %+v, %v", order, err)
	}
	return order
}

func liveJobs(tb testing.TB, s *store.Store) int {
	tb.Helper()
	return storetest.Value[int](tb, s.Pool(), `SELECT count(*) FROM lumin.river_job WHERE kind <> 'lumin_replay' AND state IN ('available', 'retryable', 'scheduled')`)
}

// attempt is the first attempt at a run of a replay.
func attempt(d store.Delivery, kind string, replayID int64) store.Attempt {
	a := storetest.Attempt(d, kind)
	a.ReplayID = replayID
	return a
}

// claim claims a run in its own transaction and commits.
func claim(tb testing.TB, s *store.Store, a store.Attempt) (event *store.Event, err error) {
	tb.Helper()
	tx := storetest.Begin(tb, s)
	if event, err = s.ClaimTx(tb.Context(), tx, a); err == nil {
		err = tx.Commit(tb.Context())
	} else {
		_ = tx.Rollback(tb.Context())
	}
	return event, err
}

// finalize ends the jobs of an event as River does.
func finalize(tb testing.TB, s *store.Store, d store.Delivery, state string) {
	tb.Helper()
	storetest.Exec(tb, s.Pool(), `
		UPDATE lumin.river_job SET state = $2::text::lumin.river_job_state, finalized_at = now()
		WHERE args ->> 'event_key' = $1`, storetest.Key(d).String(), state)
}

// wantFailures checks the stored failures, oldest first, such as
// "failed 0 3 [error 1, ...]".
func wantFailures(tb testing.TB, s *store.Store, want ...string) {
	tb.Helper()
	got := storetest.Value[[]string](tb, s.Pool(), `
		SELECT array_agg(state || ' ' || replay_id || ' ' || attempts || ' [' ||
		    (SELECT coalesce(string_agg(e ->> 'error', ', '), '') FROM unnest(errors) e) || ']' ORDER BY id)
		FROM lumin.failures`)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		tb.Errorf("failures %q, want %q", got, want)
	}
}

func wantError(tb testing.TB, got, want error) {
	tb.Helper()
	if !errors.Is(got, want) {
		tb.Errorf("error %v, want %v", got, want)
	}
}
