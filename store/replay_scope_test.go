package store_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// allPages works through an order as a worker does, in small pages.
func allPages(tb testing.TB, s *store.Store, order store.Replay, jobs store.ReplayJobs) (runs int) {
	tb.Helper()
	var at store.ReplayPosition
	for range 100 {
		page, err := s.ReplayPage(tb.Context(), order, at, jobs, 2)
		if err != nil {
			tb.Fatal(err)
		}
		runs += page.Enqueued
		if page.Exhausted {
			return runs
		}
		at = page.Next
	}
	tb.Fatal("the order has no end")
	return runs
}

func replayJobs(kinds ...string) store.ReplayJobs {
	return store.ReplayJobs{Specs: specsByKind(kinds...)}
}

func planned(tb testing.TB, s *store.Store, f store.ReplayFilter) (runs int64) {
	tb.Helper()
	plan, err := s.PlanReplay(tb.Context(), f)
	if err != nil {
		tb.Fatal(err)
	}
	for _, p := range plan {
		runs += p.Runs
	}
	return runs
}

func withdraw(tb testing.TB, s *store.Store, id int64) store.Replay {
	tb.Helper()
	if err := s.CancelReplay(tb.Context(), id); err != nil {
		tb.Fatal(err)
	}
	order, err := s.Replay(tb.Context(), id)
	if err != nil {
		tb.Fatal(err)
	}
	for after := int64(0); ; {
		if after, err = s.WithdrawPage(tb.Context(), order, after); err != nil {
			tb.Fatal(err)
		}
		if after == 0 {
			break
		}
	}
	if order, err = s.Replay(tb.Context(), id); err != nil || order.State != "cancelled" || !order.Over() {
		tb.Fatalf("cancelled: %+v, %v", order, err)
	}
	return order
}

func liveJobs(tb testing.TB, s *store.Store) int {
	tb.Helper()
	return value[int](tb, s.Pool(), `SELECT count(*) FROM lumin.river_job WHERE kind <> 'lumin_replay' AND state IN ('available', 'retryable', 'scheduled')`)
}

func TestReplayMissing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var all []store.Delivery
	for n := range 9 {
		all = append(all, delivery(n, "book"))
	}
	all[7].Source = "app:crm"
	all[8].Envelope.EventType = "signature_request_viewed"
	recordAll(t, s, append(all, from("app:crm", all[3]), store.Delivery{
		Source: "account", Payload: []byte("?"), Signature: make([]byte, 32), KeyID: "k", ReceivedAt: all[0].ReceivedAt,
	})...)
	exec(t, s.Pool(), `UPDATE lumin.events SET payload = NULL, payload_removed_at = now() WHERE signature_request_id = 'request-1'`)
	if _, err := s.RegisterJobTypes(t.Context(), []store.JobType{
		{Kind: "late", Events: []string{"signature_request_signed"}, Sources: []string{"account"}, Queue: "default"},
		{Kind: "other", Queue: "default"},
	}); err != nil {
		t.Fatal(err)
	}
	f := store.ReplayFilter{Status: store.ReplayMissing, Kinds: []string{"late"}}
	if n := planned(t, s, f); n != 6 {
		t.Errorf("planned %d", n)
	}
	// Event 3 came by two webhooks, and is one run: of either source, and of any job type.
	for source, want := range map[string]int64{"app:crm": 1, "account": 6} {
		if n := planned(t, s, store.ReplayFilter{Status: store.ReplayMissing, Kinds: []string{"late"}, Sources: []string{source}}); n != want {
			t.Errorf("planned %d of source %s, want %d", n, source, want)
		}
	}
	both := store.ReplayFilter{Status: store.ReplayMissing, Kinds: []string{"other"}}
	if p := planned(t, s, both); p != 8 {
		t.Errorf("planned %d runs of other, want 8", p)
	}
	if r := order(t, s, both); *r.Planned != 8 || allPages(t, s, r, replayJobs("other")) != 8 {
		t.Errorf("an order for other plans %d", *r.Planned)
	}
	if left, err := s.LeftOut(t.Context(), f); err != nil || left.Bodiless != 1 {
		t.Errorf("left out: %+v, %v", left, err)
	}
	r := order(t, s, f)
	before := liveJobs(t, s)
	if n := allPages(t, s, r, replayJobs("late", "other")); n != 6 || liveJobs(t, s)-before != 6 {
		t.Errorf("%d runs, %d jobs, want 6", n, liveJobs(t, s)-before)
	}
	wantState(t, s, all[0], "late", fmt.Sprintf("pending %d", r.ID))
	// The oldest event's job is the first in the queue.
	if got := value[bool](t, s.Pool(), `
		SELECT array_agg(args ->> 'event_key' ORDER BY id) = array_agg(args ->> 'event_key' ORDER BY args ->> 'event_key')
		FROM lumin.river_job WHERE kind = 'late'`); !got {
		t.Error("jobs are not in the order of their events")
	}
	if n := planned(t, s, f); n != 0 {
		t.Errorf("afterwards %d are planned", n)
	}
	// Cancelled, it leaves no trace but those that have begun.
	if _, err := claim(t, s, attempt(all[0], "late", r.ID)); err != nil {
		t.Fatal(err)
	}
	exec(t, s.Pool(), `UPDATE lumin.river_job SET state = 'completed', finalized_at = now() WHERE kind = 'late' AND args ->> 'event_key' = $1`, all[0].Envelope.Key().String())
	if got := withdraw(t, s, r.ID); got.Withdrawn != 5 || liveJobs(t, s) != before {
		t.Errorf("withdrawn %d, %d jobs too many", got.Withdrawn, liveJobs(t, s)-before)
	}
	if n := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.runs WHERE job_kind = 'late'`); n != 1 {
		t.Errorf("%d runs left, want 1", n)
	}
}

// An event that is about to go, or to lose its body, gets no run; one that comes
// again meanwhile does, and is not waited for.
func TestReplayMissingBesideOthers(t *testing.T) {
	t.Parallel()
	for held, want := range map[string]int{
		`DELETE FROM lumin.events`: 0,
		`UPDATE lumin.events SET payload = NULL, payload_removed_at = now() WHERE id IN (SELECT id FROM lumin.events FOR UPDATE)`: 0,
		`SELECT FROM lumin.events FOR NO KEY UPDATE`: 1, // as the recorder does
	} {
		s := newStore(t)
		recordAll(t, s, delivery(1, "book"))
		if _, err := s.RegisterJobTypes(t.Context(), []store.JobType{{Kind: "late", Queue: "default"}}); err != nil {
			t.Fatal(err)
		}
		r := order(t, s, store.ReplayFilter{Status: store.ReplayMissing, Kinds: []string{"late"}})
		conn := connect(t, s.Pool().Config().ConnString())
		exec(t, conn, `BEGIN`)
		exec(t, conn, held)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		page, err := s.ReplayPage(ctx, r, store.ReplayPosition{}, replayJobs("late"), 10)
		cancel()
		if err != nil || page.Enqueued != want {
			t.Errorf("beside %s: %+v, %v", held, page, err)
		}
		exec(t, conn, `COMMIT`)
	}
}

func TestReplaySucceededAndCancelled(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	done, given, failed := delivery(1, "book"), delivery(2, "book"), delivery(3, "book")
	recordAll(t, s, done)
	if _, err := claim(t, s, attempt(done, "book", 0)); err != nil {
		t.Fatal(err)
	}
	exec(t, s.Pool(), `DELETE FROM lumin.river_job`)
	recordAll(t, s, given)
	finalize(t, s, given, "cancelled")
	fail(t, s, failed)

	again := order(t, s, store.ReplayFilter{Status: store.ReplaySucceeded, Kinds: []string{"book"}})
	// Whose body somebody is about to remove is left.
	tx, err := s.Pool().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT FROM lumin.events FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	// It may come free again, so the order is not through.
	if page, err := s.ReplayPage(t.Context(), again, store.ReplayPosition{}, replayJobs("book"), 1); err != nil || page.Enqueued != 0 || page.Exhausted || !page.Wait {
		t.Errorf("%+v, %v", page, err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := allPages(t, s, again, replayJobs("book")); n != 1 {
		t.Errorf("%d succeeded runs replayed, want 1", n)
	}
	// Once per order, however often it is taken up.
	if _, err := claim(t, s, attempt(done, "book", again.ID)); err != nil {
		t.Fatal(err)
	}
	if n := allPages(t, s, again, replayJobs("book")); n != 0 {
		t.Errorf("%d replayed by an order that had been through", n)
	}
	cancelled := order(t, s, store.ReplayFilter{Status: store.ReplayCancelled})
	if n := allPages(t, s, cancelled, replayJobs("book")); n != 1 {
		t.Errorf("%d cancelled runs replayed, want 1", n)
	}
	wantState(t, s, given, "book", fmt.Sprintf("pending %d", cancelled.ID))
	if got := withdraw(t, s, cancelled.ID); got.Withdrawn != 1 {
		t.Errorf("%+v", got)
	}
	wantState(t, s, given, "book", fmt.Sprintf("cancelled %d", cancelled.ID))
	wantState(t, s, failed, "book", "failed 0")

	// What was erased does not come back.
	exec(t, s.Pool(), `UPDATE lumin.events SET payload = NULL, payload_removed_at = now()`)
	if n := planned(t, s, store.ReplayFilter{Status: store.ReplayCancelled}); n != 0 {
		t.Errorf("%d planned of events without a body", n)
	}
}

// Half-way, the rest stays failed, with its error.
func TestCancelReplay(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var all []store.Delivery
	for n := range 10 {
		all = append(all, delivery(n, "book"))
	}
	fail(t, s, all...)
	r := order(t, s, store.ReplayFilter{Status: store.ReplayFailed})
	if n, err := s.ReplayPageOf(t.Context(), r, specsByKind("book"), 6); n != 6 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := claim(t, s, attempt(all[0], "book", r.ID)); err != nil {
		t.Fatal(err)
	}
	exec(t, s.Pool(), `UPDATE lumin.river_job SET state = 'running' WHERE args ->> 'event_key' = $1 AND state = 'available'`, all[0].Envelope.Key().String())
	if got := withdraw(t, s, r.ID); got.Withdrawn != 5 || got.Enqueued != 6 {
		t.Errorf("%+v", got)
	}
	if n, err := s.ReplayPageOf(t.Context(), r, specsByKind("book"), 6); n != 0 || err != nil {
		t.Errorf("a cancelled order goes on: %d, %v", n, err)
	}
	if got := value[string](t, s.Pool(), `SELECT string_agg(DISTINCT concat_ws(' ', state, error), ', ' ORDER BY concat_ws(' ', state, error)) FROM lumin.runs`); got != "failed of replay 0, succeeded" {
		t.Errorf("afterwards: %s", got)
	}
	if n := liveJobs(t, s); n != 0 {
		t.Errorf("%d jobs are left", n)
	}
	wantError(t, s.CancelReplay(t.Context(), r.ID), store.ErrOver)
	wantError(t, s.CancelReplay(t.Context(), 99), store.ErrNotFound)
	// It can be ordered again.
	if n := carryOut(t, s, order(t, s, store.ReplayFilter{Status: store.ReplayFailed}), 100, "book"); n != 9 {
		t.Errorf("the next order replays %d, want 9", n)
	}
}

func TestReplayRetrying(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	waiting, snoozed, fresh := delivery(1, "book"), delivery(2, "book"), delivery(3, "book")
	recordAll(t, s, waiting, snoozed, fresh)
	for d, state := range map[*store.Delivery]string{&waiting: "retryable", &snoozed: "scheduled"} {
		exec(t, s.Pool(), `UPDATE lumin.river_job SET state = $2::lumin.river_job_state, attempt = 2, scheduled_at = now() + interval '1 hour' WHERE args ->> 'event_key' = $1`,
			d.Envelope.Key().String(), state)
	}
	r := order(t, s, store.ReplayFilter{Status: store.ReplayRetrying})
	if *r.Planned != 2 {
		t.Errorf("planned %d", *r.Planned)
	}
	if n := allPages(t, s, r, replayJobs("book")); n != 2 {
		t.Errorf("%d runs, want 2", n)
	}
	if got := value[string](t, s.Pool(), `
		SELECT string_agg(concat_ws(' ', state, attempt, args ->> 'replay_id', scheduled_at <= now()), ', ' ORDER BY id)
		FROM lumin.river_job WHERE kind = 'book'`); got != fmt.Sprintf("available 2 %[1]d t, available 2 %[1]d t, available 0 0 t", r.ID) {
		t.Errorf("jobs: %s", got)
	}
	wantState(t, s, waiting, "book", fmt.Sprintf("pending %d", r.ID))
	wantState(t, s, fresh, "book", "pending 0")
	// An attempt that was given up for dead acts no more; the job moved up does.
	if _, err := claim(t, s, attempt(waiting, "book", 0)); err == nil {
		t.Error("the old attempt may act")
	}
	if _, err := claim(t, s, attempt(waiting, "book", r.ID)); err != nil {
		t.Error(err)
	}
}

func TestReplayUnrecognized(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	// Bodies that an older program could not read.
	readable, known := delivery(1), delivery(2, "book")
	unread := func(payload []byte) store.Delivery {
		return store.Delivery{Source: "account", Payload: payload, Signature: make([]byte, 32), KeyID: "k", ReceivedAt: readable.ReceivedAt}
	}
	inSeconds := bytes.Replace(delivery(3).Payload, []byte(`7598`), []byte(``), 1) // of 1694664207598 ms
	if bytes.Equal(inSeconds, delivery(3).Payload) {
		t.Fatal("the body has another time")
	}
	receipts := recordAll(t, s, unread(readable.Payload), unread([]byte("?")), unread(known.Payload), known, unread(inSeconds))
	f := store.ReplayFilter{Status: store.ReplayUnrecognized}
	route := store.ReplayJobs{Route: func(string, lumin.EventType) []store.JobSpec { return specs("book") }}
	r := order(t, s, f)
	if *r.Planned != 2 {
		t.Errorf("planned %d, want 2: what came as it should as well is only seen then", *r.Planned)
	}
	if n := allPages(t, s, r, route); n != 1 {
		t.Errorf("%d events decoded, want 1", n)
	}
	got := value[string](t, s.Pool(), `
		SELECT concat_ws(' ', event_key, signature_request_id, decoded_from, encode(payload, 'escape') = $1)
		FROM lumin.events WHERE decoded_from IS NOT NULL`, string(readable.Payload))
	if want := fmt.Sprintf("%s request-1 %d t", readable.Envelope.Key(), receipts[0].EventID); got != want {
		t.Errorf("decoded %q, want %q", got, want)
	}
	wantState(t, s, readable, "book", fmt.Sprintf("pending %d", r.ID)) // so that the order is over with it
	if n := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.events WHERE signature_request_id IS NULL`); n != 4 {
		t.Errorf("%d unrecognized events, want the 4 that there were", n)
	}
	if n := allPages(t, s, order(t, s, f), route); n != 0 {
		t.Errorf("a second order decodes %d", n)
	}
}

// By the fingerprint of an error exactly its group is replayed.
func TestReplayByError(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	recordAll(t, s, delivery(1, "book"), delivery(2, "book"), delivery(3, "book"))
	for n, message := range []string{`invoice 4711 of "Ann" is gone`, `invoice 4712 of "Bob" is gone`, `timeout`} {
		exec(t, s.Pool(), `UPDATE lumin.river_job SET state = 'discarded', finalized_at = now(), errors = ARRAY[jsonb_build_object('error', $2::text)] WHERE args ->> 'event_key' = $1`,
			delivery(n+1).Envelope.Key().String(), message)
	}
	fingerprint := value[string](t, s.Pool(), `SELECT lumin.error_fingerprint('invoice 1 of "x" is gone')`)
	f := store.ReplayFilter{ErrorFingerprints: []string{fingerprint}}
	if n := planned(t, s, f); n != 2 {
		t.Errorf("planned %d, want 2", n)
	}
	if n := allPages(t, s, order(t, s, f), replayJobs("book")); n != 2 {
		t.Errorf("%d runs, want 2", n)
	}
}

// Runs of job types that the program does not know are left, and the order says so.
func TestReplayLeavesUnknownKinds(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	fail(t, s, delivery(1, "book", "mail"))
	r := order(t, s, store.ReplayFilter{Status: store.ReplayFailed})
	if n := allPages(t, s, r, replayJobs("book")); n != 1 {
		t.Errorf("%d runs", n)
	}
	if r, _ = s.Replay(t.Context(), r.ID); r.Error != `runs of job types that the program which carried this out does not know were left: ["mail"]` {
		t.Errorf("%+v", r)
	}
}

func TestRequeueReplays(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := order(t, s, store.ReplayFilter{Status: store.ReplayFailed})
	for _, c := range []struct {
		lose string
		want int
	}{{`SELECT 1`, 0}, {`DELETE FROM lumin.river_job`, 1}, {`UPDATE lumin.river_job SET state = 'cancelled', finalized_at = now()`, 1}} {
		exec(t, s.Pool(), c.lose)
		if n, err := s.RequeueReplays(t.Context()); n != c.want || err != nil {
			t.Errorf("after %s: %d, %v", c.lose, n, err)
		}
	}
	carryOut(t, s, r, 1)
	finish(t, s, r.ID, true)
	exec(t, s.Pool(), `DELETE FROM lumin.river_job`)
	if n, err := s.RequeueReplays(t.Context()); n != 0 || err != nil {
		t.Errorf("an order that is over: %d, %v", n, err)
	}
}

func TestReplayFunction(t *testing.T) {
	t.Parallel()
	s := storeOn(t, pgtest.Pool(t, pgtest.New(t)))
	id := value[int64](t, s.Pool(), `SELECT lumin.replay(status => 'succeeded', job_kinds => '{book}', event_ids => '{7}', error_fingerprints => '{abc}', received_since => '2026-01-01Z', rate => 5, reason => 'why')`)
	r, err := s.Replay(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	f := r.Filter
	if f.Status != store.ReplaySucceeded || fmt.Sprint(f.Kinds, f.EventIDs, f.ErrorFingerprints, f.Sources) != "[book] [7] [abc] []" ||
		!f.ReceivedSince.Equal(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) || r.Rate != 5 || r.Reason != "why" || r.OrderedBy == "" {
		t.Errorf("%+v", r)
	}
}

func TestReplayValidate(t *testing.T) {
	t.Parallel()
	early, late := time.Unix(1, 0), time.Unix(2, 0)
	for name, c := range map[string]struct {
		order store.NewReplay
		fine  bool
	}{
		"nothing":                       {order: store.NewReplay{}},
		"all failed":                    {order: store.NewReplay{Filter: store.ReplayFilter{Status: "failed"}}, fine: true},
		"all retrying":                  {order: store.NewReplay{Filter: store.ReplayFilter{Status: "retrying"}}, fine: true},
		"all that succeeded":            {order: store.NewReplay{Filter: store.ReplayFilter{Status: "succeeded"}}},
		"succeeded of a kind":           {order: store.NewReplay{Filter: store.ReplayFilter{Status: "succeeded", Kinds: []string{"book"}}}, fine: true},
		"missing of nothing":            {order: store.NewReplay{Filter: store.ReplayFilter{Status: "missing"}}},
		"missing by error":              {order: store.NewReplay{Filter: store.ReplayFilter{Status: "missing", Kinds: []string{"book"}, ErrorFingerprints: []string{"x"}}}},
		"unrecognized of a kind":        {order: store.NewReplay{Filter: store.ReplayFilter{Status: "unrecognized", Kinds: []string{"book"}}}},
		"unrecognized":                  {order: store.NewReplay{Filter: store.ReplayFilter{Status: "unrecognized", Sources: []string{"account"}}}, fine: true},
		"an unknown status":             {order: store.NewReplay{Filter: store.ReplayFilter{Status: "done"}}},
		"an inverted time range":        {order: store.NewReplay{Filter: store.ReplayFilter{ReceivedSince: &late, ReceivedUntil: &early}}},
		"a rate below zero":             {order: store.NewReplay{Filter: store.ReplayFilter{Status: "failed"}, Rate: -1}},
		"a time range that is in order": {order: store.NewReplay{Filter: store.ReplayFilter{ReceivedSince: &early, ReceivedUntil: &late}}, fine: true},
	} {
		if err := c.order.Validate(); (err == nil) != c.fine {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A cancel that comes while a page is taken is not overtaken by it: the page would
// put runs to pending that nobody takes back any more.
func TestCancelBesidePage(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := delivery(1, "book")
	fail(t, s, d)
	r := order(t, s, store.ReplayFilter{Status: store.ReplayFailed})
	conn := connect(t, s.Pool().Config().ConnString())
	exec(t, conn, `BEGIN`)
	exec(t, conn, `LOCK TABLE lumin.river_job IN SHARE ROW EXCLUSIVE MODE`)
	pages, errs := make(chan store.ReplayPage, 1), make(chan error, 1)
	go func() {
		page, err := s.ReplayPage(context.WithoutCancel(t.Context()), r, store.ReplayPosition{}, replayJobs("book"), 1)
		pages <- page
		errs <- err
	}()
	eventually(t, "the page waits to insert its jobs", func() bool {
		return value[int](t, s.Pool(), `SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'lumin.river_job'::regclass
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`) == 1
	})
	exec(t, conn, `UPDATE lumin.replays SET state = 'cancelled'`)
	exec(t, conn, `COMMIT`)
	if page, err := <-pages, <-errs; err != nil || page.Enqueued != 0 || !page.Exhausted {
		t.Errorf("%+v, %v", page, err)
	}
	wantState(t, s, d, "book", "failed 0")
}
