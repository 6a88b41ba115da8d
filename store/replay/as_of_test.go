package replay_test

import (
	"testing"
	"time"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
)

// succeed records an event and has its run take effect.
func succeed(tb testing.TB, s *store.Store, n int) {
	tb.Helper()
	d := storetest.Delivery(n, "book")
	storetest.Record(tb, s, d)
	if err := storetest.Succeed(tb, s, d, "book"); err != nil {
		tb.Fatal(err)
	}
}

// A replay of succeeded runs repeats those that had succeeded when it was planned or
// ordered, and ends while new events keep succeeding, also after a crash.
func TestReplayLeavesLaterSuccesses(t *testing.T) {
	t.Parallel()
	for name, planned := range map[string]bool{"as of its plan": true, "as of the order": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := storetest.New(t)
			for n := range 3 {
				succeed(t, s, n)
			}
			f := replay.Filter{Status: replay.Succeeded, Kinds: []string{"book"}}
			if planned {
				plan, err := replay.New(s).Plan(t.Context(), f)
				if err != nil {
					t.Fatal(err)
				}
				f.AsOf = &plan.AsOf
				succeed(t, s, 20)
			}
			id, err := replay.New(s).Place(t.Context(), replay.NewOrder{Filter: f})
			if err != nil {
				t.Fatal(err)
			}
			runs := 0
			for n := 3; n < 20; n++ {
				succeed(t, s, n)
				order, err := replay.New(s).Start(t.Context(), id) // as after a crash
				if err != nil || *order.Planned != 3 {
					t.Fatalf("planned %d, %v", *order.Planned, err)
				}
				page, err := replay.New(s).TakePage(t.Context(), order, storetest.ReplayJobs("book"), replay.Position{}, 1)
				if err != nil {
					t.Fatal(err)
				}
				if runs += page.Enqueued; page.Exhausted {
					break
				}
			}
			if again := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.runs WHERE rerun > 0`); runs != 3 || again != 3 {
				t.Errorf("%d runs taken, %d are repeated, want 3", runs, again)
			}
			storetest.Exec(t, s.Pool(), `UPDATE lumin.runs SET state = 'succeeded', finished_at = now() WHERE state = 'pending'`)
			finish(t, s, id, true)
		})
	}
}

// A change covers what its plan has counted: runs that fail afterwards stay failed, and
// so does one that fails again.
func TestDismissAsOf(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	again, later := storetest.Delivery(2, "book"), storetest.Delivery(3, "book")
	fail(t, s, storetest.Delivery(1, "book"), again)
	f := allFailed()
	plan, err := replay.New(s).Plan(t.Context(), f)
	if err != nil || plan.Runs() != 2 {
		t.Fatalf("%+v, %v", plan, err)
	}
	carryOut(t, s, storetest.Order(t, s, replay.Filter{SignatureRequestIDs: []string{"request-2"}}), 1, "book")
	fail(t, s, later)
	storetest.WantState(t, s, again, "book", "failed 1")
	f.AsOf = &plan.AsOf
	if n := planned(t, s, f); n != 1 {
		t.Errorf("a plan as of the first one counts %d, want 1", n)
	}
	dismiss(t, s, f, 1)
	storetest.WantState(t, s, again, "book", "failed 1")
	storetest.WantState(t, s, later, "book", "failed 0")

	// A restoration, too: what is dismissed afterwards stays dismissed.
	plan, _, err = replay.New(s).PlanRestore(t.Context(), allFailed())
	if err != nil || plan.Runs() != 1 {
		t.Fatalf("%+v, %v", plan, err)
	}
	dismiss(t, s, allFailed(), 2)
	f.AsOf = &plan.AsOf
	restore(t, s, f, 1)
	storetest.WantState(t, s, later, "book", "dismissed 0")
	future := time.Now().Add(time.Hour)
	f.AsOf = &future
	restore(t, s, f, 2)
}

// A cancellation and a replay of retrying runs leave runs alone whose attempts failed
// after the plan.
func TestRetryingAsOf(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	replays, f := replay.New(s), replay.Filter{Status: replay.Retrying}
	planned, attempted, never, later := storetest.Delivery(1, "book"), storetest.Delivery(2, "book"), storetest.Delivery(3, "book"), storetest.Delivery(4, "book")
	retrying := func(d store.Delivery, set string) {
		t.Helper()
		storetest.Exec(t, s.Pool(), `UPDATE lumin.river_job SET `+set+` WHERE args ->> 'event_key' = $1`, storetest.Key(d).String())
	}
	storetest.Record(t, s, planned, attempted, never, later)
	retrying(planned, `state = 'retryable', attempt = 1, attempted_at = now()`)
	retrying(attempted, `state = 'retryable', attempt = 1, attempted_at = now()`)
	retrying(never, `state = 'scheduled', scheduled_at = now() + interval '1 hour'`)
	plan, err := replays.Plan(t.Context(), f)
	if err != nil || plan.Runs() != 3 {
		t.Fatalf("%+v, %v", plan, err)
	}
	retrying(attempted, `attempt = 2, attempted_at = now()`)
	retrying(later, `state = 'retryable', attempt = 1, attempted_at = now()`)
	f.AsOf = &plan.AsOf
	r := storetest.Order(t, s, f)
	if n := allPages(t, s, r, storetest.ReplayJobs("book")); n != 2 || *r.Planned != 2 {
		t.Errorf("%d of %d runs are tried again, want 2", n, *r.Planned)
	}
	retrying(planned, `state = 'retryable'`)
	if n, err := replays.CancelRetrying(t.Context(), f); err != nil || n != 1 {
		t.Errorf("%d runs cancelled, %v, want 1", n, err)
	}
	storetest.WantState(t, s, planned, "book", "cancelled 1")
	storetest.WantState(t, s, later, "book", "pending 0")
	f.AsOf = nil
	if n, err := replays.CancelRetrying(t.Context(), f); err != nil || n != 2 {
		t.Errorf("%d runs cancelled, %v, want 2", n, err)
	}
}

// Events that arrive after an order get no runs from it. Late ones wait for their
// decision.
func TestReplayLeavesLaterEvents(t *testing.T) {
	t.Parallel()
	unread := func(n int) store.Delivery {
		d := storetest.Delivery(n)
		d.Envelope = nil
		return d
	}
	for name, c := range map[string]struct {
		filter replay.Filter
		event  func(n int) store.Delivery
	}{
		"late":         {replay.Filter{Status: replay.Late}, func(n int) store.Delivery { return late(storetest.Delivery(n)) }},
		"missing":      {replay.Filter{Status: replay.Missing, Kinds: []string{"book"}}, func(n int) store.Delivery { return storetest.Delivery(n) }},
		"unrecognized": {replay.Filter{Status: replay.Unrecognized}, unread},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := storetest.New(t)
			storetest.Record(t, s, c.event(1), c.event(2))
			if _, err := catalog.AddJobTypes(t.Context(), s.Pool(), []catalog.JobType{{Kind: "book", Queue: "default"}}); err != nil {
				t.Fatal(err)
			}
			jobs := storetest.ReplayJobs("book")
			jobs.Route = func(string, lumin.EventType) []store.JobSpec { return storetest.Specs("book") }
			r := storetest.Order(t, s, c.filter)
			after := c.event(3)
			after.ReceivedAt = r.CreatedAt.Add(time.Microsecond)
			storetest.Record(t, s, after)
			if n := allPages(t, s, r, jobs); n != 2 || *r.Planned != 2 {
				t.Errorf("%d of %d, want 2", n, *r.Planned)
			}
			if waiting, err := store.CountWaitingLate(t.Context(), s.Pool()); err != nil || (waiting.Events == 1) != (name == "late") {
				t.Errorf("%+v wait, %v", waiting, err)
			}
			if name == "late" {
				if n, err := replay.New(s).Dismiss(t.Context(), r.Filter, "done by hand", "ann"); err != nil || n != 0 {
					t.Errorf("dismissed %d, %v", n, err)
				}
			}
			if n := allPages(t, s, storetest.Order(t, s, c.filter), jobs); n != 1 {
				t.Errorf("the next order takes %d, want 1", n)
			}
		})
	}
}

// An order in SQL is bounded like one of a program.
func TestOrderInSQLAsOf(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	for name, c := range map[string]struct{ sql, want string }{
		"without":          {`lumin.replay(status => 'failed')`, `ordered, now`},
		"in the past":      {`lumin.replay(status => 'failed', as_of => '2026-01-01Z')`, `ordered, 2026-01-01 00:00:00`},
		"in the future":    {`lumin.replay(status => 'failed', as_of => now() + interval '1 hour')`, `ordered, now`},
		"infinite":         {`lumin.replay(status => 'failed', as_of => 'infinity')`, `refused, now`},
		"before all times": {`lumin.replay(status => 'failed', as_of => '-infinity')`, `refused, now`},
	} {
		id := storetest.Value[int64](t, s.Pool(), `SELECT `+c.sql)
		got := storetest.Value[string](t, s.Pool(), `
			SELECT state || ', ' || CASE WHEN coalesce(as_of, created_at) = created_at THEN 'now' ELSE (as_of AT TIME ZONE 'UTC')::text END FROM lumin.replays WHERE id = $1`, id)
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if order, err := replay.New(s).Get(t.Context(), id); err != nil || order.Filter.AsOf == nil || order.Filter.AsOf.After(order.CreatedAt) {
			t.Errorf("%s: %+v, %v", name, order, err)
		}
	}
	got := storetest.Value[string](t, s.Pool(), `SELECT string_agg(subject::text, ' ' ORDER BY id) FROM lumin.audit_log WHERE subject ->> 'as_of' LIKE '2026-01-01%'`)
	if got != `{"as_of": "2026-01-01T00:00:00+00:00", "status": "failed"}` {
		t.Errorf("audit log: %s", got)
	}
}
