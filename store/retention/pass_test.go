package retention_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
	"lumin-ingest/store/retention"
)

const day = 24 * time.Hour

func retain(tb testing.TB, s *store.Store, r retention.Policy, now time.Time) retention.Removed {
	tb.Helper()
	plan, err := retention.Plan(tb.Context(), s.Pool(), r, now)
	if err != nil {
		tb.Fatal(err)
	}
	done, err := retention.Run(tb.Context(), s.Pool(), r, now)
	if err != nil {
		tb.Fatal(err)
	}
	if done != plan.Removed || !plan.Exact {
		tb.Errorf("planned %+v, done %+v", plan, done)
	}
	return done
}

// wantRemaining checks which rows and bodies TestRetain leaves.
func wantRemaining(tb testing.TB, s *store.Store) {
	tb.Helper()
	left := storetest.Value[string](tb, s.Pool(), `
		SELECT string_agg(concat_ws(' ', signature_request_id, source, CASE WHEN payload IS NULL THEN 'removed' ELSE 'kept' END), ', ' ORDER BY signature_request_id, source)
		FROM lumin.events`)
	if want := "request-1 account kept, request-2 account removed, request-4 account kept, request-5 account kept, request-6 account removed, request-6 app:crm removed"; left != want {
		tb.Errorf("remaining are\n%s, want\n%s", left, want)
	}
	if n := storetest.Value[int](tb, s.Pool(), `SELECT count(*) FROM lumin.redeliveries WHERE payload IS NOT NULL`); n != 0 {
		tb.Errorf("%d bodies of redeliveries remain", n)
	}
	if ids := storetest.Value[string](tb, s.Pool(), `SELECT string_agg(signature_request_id, ' ' ORDER BY 1) FROM lumin.signature_requests`); ids != "request-1 request-5" {
		tb.Errorf("remaining signature requests: %s", ids)
	}
}

func TestRetain(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	now := storetest.Delivery(0).ReceivedAt
	aged := func(n int, ago time.Duration, jobs ...string) store.Delivery {
		d := storetest.Delivery(n, jobs...)
		d.ReceivedAt = now.Add(-ago)
		return d
	}
	fresh, middle, old := aged(1, 89*day, "book"), aged(2, 91*day, "book"), aged(3, 401*day, "book")
	pending, failed := aged(4, 500*day, "mail"), aged(5, 500*day, "mail")
	shared := aged(6, 401*day) // the event of its other source is younger
	sibling := storetest.From("app:crm", aged(6, 399*day))
	unrecognized := store.Delivery{Source: "account", Payload: []byte("?"), Signature: make([]byte, 32), KeyID: "k", ReceivedAt: now.Add(-401 * day)}
	storetest.Record(t, s, failed)
	storetest.FailAll(t, s)
	storetest.Record(t, s, fresh, middle, old, shared, sibling, unrecognized)
	// A job type of another program has done this work.
	for _, d := range []store.Delivery{fresh, middle, old} {
		if err := storetest.Succeed(t, s, d, "book"); err != nil {
			t.Fatal(err)
		}
	}
	storetest.Record(t, s, pending)
	storetest.Record(t, s, storetest.Variant(2, "https://example.com/?token=2", "title"), storetest.Variant(3, "https://example.com/?token=2", "title"))
	storetest.Exec(t, s.Pool(), `INSERT INTO lumin.signature_requests (signature_request_id) VALUES ('request-1'), ('request-3'), ('request-5')`)

	if got := retain(t, s, retention.Policy{}, now); got != (retention.Removed{}) {
		t.Errorf("keeping all removed %+v", got)
	}
	got := retain(t, s, retention.Policy{Payloads: 90 * day, Events: 400 * day}, now)
	if want := (retention.Removed{Payloads: 3, Events: 2, Runs: 1, Redeliveries: 1}); got != want {
		t.Errorf("removed %+v, want %+v", got, want)
	}
	wantRemaining(t, s)
	storetest.WantState(t, s, pending, "mail", "pending 0")
	storetest.WantState(t, s, failed, "mail", "failed 0")

	// Nothing remains to be removed. A redelivery is recognized and counted,
	// and its body is not stored.
	if got := retain(t, s, retention.Policy{Payloads: 90 * day, Events: 400 * day}, now); got != (retention.Removed{}) {
		t.Errorf("a second time: %+v", got)
	}
	if r := storetest.Record(t, s, storetest.Variant(2, "https://example.com/?token=3", "title")); r[0].Status != store.Duplicate {
		t.Errorf("%+v", r[0])
	}
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.events WHERE signature_request_id = 'request-2' AND payload IS NULL`); n != 1 {
		t.Error("a redelivery stored the body again")
	}
	// Once the failed run has succeeded, its event is removed too.
	if err := storetest.Succeed(t, s, failed, "mail"); err != nil {
		t.Fatal(err)
	}
	if got := retain(t, s, retention.Policy{Events: 400 * day}, now); got.Events != 1 || got.Runs != 1 {
		t.Errorf("afterwards: %+v", got)
	}
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.failures`); n != 0 {
		t.Errorf("%d failures remain", n)
	}
}

// Most events of many pages are kept, and locked ones do not stop the pass.
func TestRetainPages(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Exec(t, s.Pool(), `
		WITH e AS (
		    INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
		    SELECT gen_random_uuid(), 'account', 'r' || n, 't', now(), '', '', '', 'k', now() - interval '500 days' + n / 10 * interval '1 second'
		    FROM generate_series(1, 3000) n RETURNING id, event_key
		)
		INSERT INTO lumin.runs (event_key, job_kind, event_id, state, finished_at)
		SELECT event_key, 'book', id, CASE WHEN id % 3 = 0 THEN 'succeeded' ELSE 'failed' END, now() FROM e`)
	tx, err := s.Pool().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), `SELECT FROM lumin.events WHERE id = 3 FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	done, err := retention.Run(t.Context(), s.Pool(), retention.Policy{Events: 400 * day}, time.Now())
	if err != nil || done.Events != 999 || done.Runs != 999 {
		t.Errorf("%+v, %v; want all but the one that is locked", done, err)
	}
}

// agedSQL makes $1 old events in each of two sources, with one run in state $2
// for each event key. The two events of a key are 500 events apart.
const agedSQL = `
WITH e AS (
    INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
    SELECT md5(n::text)::uuid, source, 'r' || n, 't', now(), '', '', '', 'k', now() - interval '500 days' + (n + apart) * interval '1 second'
    FROM generate_series(1, $1::int) n, (VALUES ('account', 0), ('app:crm', 500)) s (source, apart)
    ORDER BY n + apart, source DESC RETURNING id, event_key, source
)
INSERT INTO lumin.runs (event_key, job_kind, event_id, state, finished_at)
SELECT event_key, 'book', id, $2, now() FROM e WHERE source = 'account'`

// Events that have to stay are read but not written. A pass in slices continues
// behind them.
func TestRetainContinuesBehindKeptEvents(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Exec(t, s.Pool(), agedSQL, 2000, "failed")
	storetest.Exec(t, s.Pool(), `
		INSERT INTO lumin.events (event_key, source, payload, payload_sha256, signature, key_id, received_at)
		SELECT gen_random_uuid(), 'account', '', '', '', 'k', now() - n * interval '1 day' FROM unnest(ARRAY[410, 110]) n`)
	r := retention.Policy{Payloads: 100 * day, Events: 400 * day}
	want := retention.Planned{Removed: retention.Removed{Events: 1, Payloads: 1}, Kept: 4000, Exact: true}
	if plan, err := retention.Plan(t.Context(), s.Pool(), r, time.Now()); err != nil || plan != want {
		t.Errorf("planned %+v, %v", plan, err)
	}
	if plan, err := retention.Plan(t.Context(), s.Pool(), retention.Policy{Events: 400 * day}, time.Now()); err != nil || plan.Kept != 4000 {
		t.Errorf("%d events kept for runs, %v", plan.Kept, err)
	}
	var done retention.Removed
	pass, pieces := retention.NewPass(r, time.Now()), 0
	for ; !pass.Finished(); pieces++ {
		removed, err := pass.Continue(t.Context(), s.Pool(), time.Nanosecond)
		if err != nil || pieces > 100 {
			t.Fatalf("no end after %d pieces, %v", pieces, err)
		}
		done.Events += removed.Events
		done.Payloads += removed.Payloads
	}
	if done != (retention.Removed{Events: 1, Payloads: 1}) || pieces < 10 {
		t.Errorf("removed %+v in %d slices", done, pieces)
	}
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.events WHERE xmax <> 0 AND payload IS NOT NULL`); n != 0 {
		t.Errorf("%d of the kept events were written", n)
	}
}

// Several passes at once remove everything.
func TestRetainAtOnce(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Exec(t, s.Pool(), agedSQL, 8000, "succeeded")
	var work sync.WaitGroup
	for range 3 {
		work.Go(func() {
			if _, err := retention.Run(t.Context(), s.Pool(), retention.Policy{Payloads: 100 * day, Events: 400 * day}, time.Now()); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	if got := storetest.Count(t, s); got != (storetest.Tally{}) {
		t.Errorf("remaining are %+v", got)
	}
}

// All rows of an event key are removed, or none. Locked rows do not delay the
// pass.
func TestRetainWholeEventKeys(t *testing.T) {
	t.Parallel()
	for _, held := range []string{
		`SELECT FROM lumin.events WHERE source = 'app:crm' FOR KEY SHARE`,
		`UPDATE lumin.runs SET state = 'pending', finished_at = NULL WHERE job_kind = 'mail'`,
		`UPDATE lumin.redeliveries SET count = count + 1`,
		`INSERT INTO lumin.runs (event_key, job_kind, event_id) SELECT event_key, 'late', id FROM (SELECT * FROM lumin.events LIMIT 1 FOR KEY SHARE) e`,
	} {
		s := storetest.New(t)
		first := storetest.Delivery(1, "book", "mail")
		storetest.Record(t, s, first, storetest.From("app:crm", first), storetest.Variant(1, "https://example.com/?token=2", "title"))
		storetest.Exec(t, s.Pool(), `UPDATE lumin.runs SET state = 'succeeded', finished_at = now()`)
		before := storetest.Count(t, s)
		tx := storetest.Begin(t, s)
		storetest.Exec(t, tx, held)
		ctx, cancel := context.WithTimeout(t.Context(), storetest.Timeout)
		done, err := retention.Run(ctx, s.Pool(), retention.Policy{Events: 400 * day}, time.Now())
		cancel()
		if err != nil || done != (retention.Removed{}) || storetest.Count(t, s) != before {
			t.Errorf("beside %s: %+v, %v, remaining are %+v", held, done, err, storetest.Count(t, s))
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		if done := retain(t, s, retention.Policy{Events: 400 * day}, time.Now()); done != (retention.Removed{Events: 2, Runs: 2, Redeliveries: 1}) {
			t.Errorf("after %s: %+v", held, done)
		}
	}
}

// Rows whose event no longer exists are removed at the same age.
func TestRetainOrphans(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	var all []store.Delivery
	for n := range 1200 {
		all = append(all, storetest.Delivery(n, "book", "mail"))
	}
	storetest.Record(t, s, all...)
	storetest.FailAll(t, s)
	storetest.Exec(t, s.Pool(), `DELETE FROM lumin.events WHERE id % 3 > 0`)
	r := retention.Policy{Events: 400 * day}
	if done, err := retention.Run(t.Context(), s.Pool(), r, all[0].ReceivedAt.Add(399*day)); err != nil || done != (retention.Removed{}) {
		t.Errorf("of what is younger: %+v, %v", done, err)
	}
	if done, err := retention.Run(t.Context(), s.Pool(), r, time.Now()); err != nil || done != (retention.Removed{Runs: 1600}) {
		t.Errorf("%+v, %v", done, err)
	}
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.failures`); n != 800 {
		t.Errorf("%d failures remain, want those of 400 events", n)
	}
}

// A replay of missing runs makes no run of an event that is being removed.
func TestRetainBesideMissing(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Register(t, s, "late")
	for round := range 10 {
		storetest.Exec(t, s.Pool(), agedSQL, 600, "succeeded")
		var work sync.WaitGroup
		work.Go(func() {
			r := retention.Policy{Payloads: 100 * day, Events: 400 * day}
			if round%2 == 1 {
				r.Events = 0
			}
			if _, err := retention.Run(t.Context(), s.Pool(), r, time.Now()); err != nil {
				t.Error(err)
			}
		})
		order := storetest.Order(t, s, replay.Filter{Status: replay.Missing, Kinds: []string{"late"}})
		for at := (replay.Position{}); ; {
			page, err := replay.New(s).TakePage(t.Context(), order, storetest.ReplayJobs("late"), at, 10+rand.IntN(90))
			if err != nil || page.Exhausted {
				if err != nil {
					t.Error(err)
				}
				break
			}
			at = page.Next
		}
		work.Wait()
		if n := storetest.Value[int](t, s.Pool(), `
			SELECT count(*) FROM lumin.runs r WHERE r.state = 'pending'
			AND NOT EXISTS (SELECT FROM lumin.events e WHERE e.id = r.event_id AND e.payload IS NOT NULL)`); n != 0 {
			t.Errorf("round %d: %d pending runs without a body", round, n)
		}
		for _, table := range []string{"events", "runs", "redeliveries", "failures", "replays", "river_job"} {
			storetest.Exec(t, s.Pool(), `DELETE FROM lumin.`+table) // faster than TRUNCATE on tables this small
		}
	}
}

// recordAgain records a delivery as Lumin would: it repeats the delivery if it was
// refused because retention deleted its event at that moment.
func recordAgain(t *testing.T, s *store.Store, d store.Delivery) {
	t.Helper()
	r := store.NewRecorder(s, slog.New(slog.DiscardHandler), nil)
	defer r.Close()
	var err error
	for range 5 {
		if _, err = r.Record(t.Context(), d); err == nil {
			return
		}
	}
	t.Error(err)
}

// Beside replays and redeliveries of the same events, no run is lost and no
// lock waits forever.
func TestRetainBesideOthers(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	var all []store.Delivery
	for n := range 400 {
		all = append(all, storetest.Delivery(n, "book"))
	}
	storetest.Record(t, s, all...)
	storetest.FailAll(t, s)
	var work sync.WaitGroup
	work.Go(func() {
		for range 20 {
			if _, err := retention.Run(t.Context(), s.Pool(), retention.Policy{Payloads: time.Hour, Events: 2 * time.Hour}, time.Now()); err != nil {
				t.Error(err)
			}
		}
	})
	work.Go(func() {
		for n := range 20 {
			recordAgain(t, s, storetest.Variant(n*20, fmt.Sprintf("https://example.com/?token=%d", n), "title"))
		}
	})
	for range 20 {
		r := storetest.Order(t, s, replay.Filter{Status: replay.Failed})
		storetest.CarryOut(t, s, r, storetest.ReplayJobs("book"), 100)
		storetest.Exec(t, s.Pool(), `UPDATE lumin.runs SET state = 'succeeded', finished_at = now() WHERE state = 'pending' AND event_id % 7 = $1`, r.ID%7)
		storetest.FailAll(t, s)
	}
	work.Wait()
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.runs r WHERE NOT EXISTS (SELECT FROM lumin.events e WHERE e.id = r.event_id)`); n != 0 {
		t.Errorf("%d runs without their event", n)
	}
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.runs WHERE state = 'failed'`); n != 0 {
		if m := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.events e JOIN lumin.runs r ON r.event_id = e.id WHERE r.state = 'failed' AND e.payload IS NOT NULL`); m != n {
			t.Errorf("%d failed runs, %d of them with their body", n, m)
		}
	}
}
