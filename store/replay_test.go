package store_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// fail records deliveries and has all their jobs fail for good.
func fail(tb testing.TB, s *store.Store, deliveries ...store.Delivery) []store.Receipt {
	tb.Helper()
	receipts := recordAll(tb, s, deliveries...)
	failAll(tb, s)
	return receipts
}

// failAll has all jobs fail for good that are in the queue.
func failAll(tb testing.TB, s *store.Store) {
	tb.Helper()
	exec(tb, s.Pool(), `
		UPDATE lumin.river_job SET state = 'discarded', attempt = 1, finalized_at = now(),
		    errors = ARRAY[jsonb_build_object('error', 'of replay ' || (args ->> 'replay_id'))]
		WHERE state = 'available' AND kind <> 'lumin_replay'`)
}

func order(tb testing.TB, s *store.Store, f store.ReplayFilter) store.Replay {
	tb.Helper()
	id, err := s.OrderReplay(tb.Context(), store.NewReplay{Filter: f, Reason: "a reason"})
	if err != nil {
		tb.Fatal(err)
	}
	r, err := s.StartReplay(tb.Context(), id)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// finish asks whether an order is over by now.
func finish(tb testing.TB, s *store.Store, id int64, want bool) {
	tb.Helper()
	if over, err := s.FinishReplay(tb.Context(), id); err != nil || over != want {
		tb.Errorf("order %d is over: %t, %v", id, over, err)
	}
}

// carryOut works through an order in pages of the given size.
func carryOut(tb testing.TB, s *store.Store, r store.Replay, page int, kinds ...string) (runs int) {
	tb.Helper()
	for {
		n, err := s.ReplayPageOf(tb.Context(), r, specsByKind(kinds...), page)
		if err != nil {
			tb.Error(err)
			return runs
		}
		if n == 0 {
			return runs
		}
		runs += n
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	failed, succeeded, cancelled := delivery(1, "book", "mail"), delivery(2, "book"), delivery(3, "book")
	recordAll(t, s, succeeded)
	if err := s.Settle(t.Context(), attempt(succeeded, "book", 0)); err != nil {
		t.Fatal(err)
	}
	recordAll(t, s, cancelled)
	finalize(t, s, cancelled, "cancelled")
	fail(t, s, failed)

	r := order(t, s, store.ReplayFilter{Status: store.ReplayFailed, Kinds: []string{"book"}})
	if r.State != "running" || r.StartedAt == nil || r.FinishedAt != nil || r.Enqueued != 0 {
		t.Errorf("started: %+v", r)
	}
	if n := carryOut(t, s, r, 1000, "book", "mail"); n != 1 {
		t.Errorf("%d runs replayed, want 1", n)
	}
	wantState(t, s, failed, "book", fmt.Sprintf("pending %d", r.ID))
	wantState(t, s, failed, "mail", "failed 0")
	wantState(t, s, succeeded, "book", "succeeded 0")
	wantState(t, s, cancelled, "book", "cancelled 0")
	jobs := value[string](t, s.Pool(), `
		SELECT string_agg(concat_ws(' ', kind, queue, max_attempts, priority, args ->> 'replay_id'), ', ')
		FROM lumin.river_job WHERE args ->> 'event_key' = $1 AND state = 'available'`, failed.Envelope.Key().String())
	if want := fmt.Sprintf("book default 3 2 %d", r.ID); jobs != want {
		t.Errorf("jobs %q, want %q", jobs, want)
	}

	finish(t, s, r.ID, false) // its run is pending
	done, err := s.Replay(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if done.State != "running" || done.EnqueuedAt == nil || done.FinishedAt != nil || done.Enqueued != 1 || done.Reason != "a reason" || done.OrderedBy == "" ||
		done.Filter.Status != store.ReplayFailed || fmt.Sprint(done.Filter.Kinds) != "[book]" {
		t.Errorf("done: %+v", done)
	}
	// What is enqueued is enqueued, also when it is called again.
	if n := carryOut(t, s, r, 1000, "book", "mail"); n != 0 {
		t.Errorf("%d runs replayed by an order that is done", n)
	}

	// The replayed run acts once more, and its old failure is not forgotten.
	if _, err := claim(t, s, attempt(failed, "book", r.ID)); err != nil {
		t.Fatal(err)
	}
	finish(t, s, r.ID, true)
	wantFailures(t, s, "cancelled 0 0 []", "failed 0 1 [of replay 0]", "failed 0 1 [of replay 0]")
	counts, err := s.ReplayRuns(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if want := []store.RunCount{{Kind: "book", State: "succeeded", Runs: 1}}; !slices.Equal(counts, want) {
		t.Errorf("runs of the order: %+v, want %+v", counts, want)
	}
}

func TestReplayFilters(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	// Event n is received a second after it happened, n milliseconds after event 0.
	var all []store.Delivery
	for n := range 4 {
		all = append(all, delivery(n, "book", "mail"))
	}
	all[1].Envelope.EventType = lumin.SignatureRequestApproved
	all[2].Source = "app:crm"
	unrecognized := store.Delivery{
		Source: "account", Payload: []byte("?"), Signature: make([]byte, 32), KeyID: "k",
		ReceivedAt: all[0].ReceivedAt.Add(time.Hour), Jobs: specs("book"),
	}
	second := from("app:other", delivery(3, "book"))
	second.ReceivedAt = all[0].ReceivedAt.Add(2 * time.Hour)
	receipts := fail(t, s, append(slices.Clone(all), unrecognized, second)...)

	names := map[string]string{fmt.Sprintf("%x", unrecognized.Key()): "?"}
	for n, d := range all {
		names[fmt.Sprintf("%x", d.Key())] = fmt.Sprint(n)
	}
	at := func(t time.Time) *time.Time { return &t }
	happened := func(n int) *time.Time { return at(all[n].Envelope.EventTime) }
	received := func(n int) *time.Time { return at(all[n].ReceivedAt) }
	for name, c := range map[string]struct {
		filter store.ReplayFilter
		want   string // "0book" is job type book on event 0
	}{
		"failed":                 {store.ReplayFilter{Status: store.ReplayFailed}, "0book 0mail 1book 1mail 2book 2mail 3book 3mail ?book"},
		"kind":                   {store.ReplayFilter{Kinds: []string{"mail"}}, "0mail 1mail 2mail 3mail"},
		"kinds":                  {store.ReplayFilter{Kinds: []string{"mail", "book"}}, "0book 0mail 1book 1mail 2book 2mail 3book 3mail ?book"},
		"kind of nothing":        {store.ReplayFilter{Kinds: []string{"nobody"}}, ""},
		"event type":             {store.ReplayFilter{EventTypes: []string{"signature_request_approved"}}, "1book 1mail"},
		"source":                 {store.ReplayFilter{Sources: []string{"app:crm"}}, "2book 2mail"},
		"source of a copy":       {store.ReplayFilter{Sources: []string{"app:other"}}, "3book 3mail"},
		"received by a copy":     {store.ReplayFilter{ReceivedSince: at(second.ReceivedAt)}, "3book 3mail"},
		"of one copy":            {store.ReplayFilter{Sources: []string{"account"}, ReceivedSince: at(second.ReceivedAt)}, ""},
		"copy and event type":    {store.ReplayFilter{Sources: []string{"app:other"}, EventTypes: []string{"signature_request_signed"}}, "3book 3mail"},
		"signature request":      {store.ReplayFilter{SignatureRequestIDs: []string{"request-0", "request-3"}}, "0book 0mail 3book 3mail"},
		"event id":               {store.ReplayFilter{EventIDs: []int64{receipts[1].EventID}}, "1book 1mail"},
		"event id of the second": {store.ReplayFilter{EventIDs: []int64{receipts[5].EventID}}, "3book 3mail"},
		"received since":         {store.ReplayFilter{ReceivedSince: received(2)}, "2book 2mail 3book 3mail ?book"},
		"received until":         {store.ReplayFilter{ReceivedUntil: received(2)}, "0book 0mail 1book 1mail"},
		"received between":       {store.ReplayFilter{ReceivedSince: received(1), ReceivedUntil: received(3)}, "1book 1mail 2book 2mail"},
		"happened since":         {store.ReplayFilter{EventSince: happened(3)}, "3book 3mail"},
		"happened until":         {store.ReplayFilter{EventUntil: happened(1)}, "0book 0mail"},
		"all together": {store.ReplayFilter{
			Status: store.ReplayFailed, Kinds: []string{"book"}, EventTypes: []string{"signature_request_approved"}, Sources: []string{"account"},
			SignatureRequestIDs: []string{"request-1"}, EventIDs: []int64{receipts[1].EventID}, ReceivedSince: received(1), ReceivedUntil: received(2),
			EventSince: happened(1), EventUntil: happened(2),
		}, "1book"},
		"that exclude each other": {store.ReplayFilter{EventTypes: []string{"signature_request_approved"}, Sources: []string{"app:crm"}}, ""},
	} {
		t.Run(name, func(t *testing.T) { // one after the other: they share the runs
			plan, err := s.PlanReplay(t.Context(), c.filter)
			if err != nil {
				t.Fatal(err)
			}
			planned := map[string]int64{}
			for _, p := range plan {
				planned[p.Kind] = p.Runs
				if p.FirstEvent.After(*p.LastEvent) || p.FirstEvent.IsZero() {
					t.Errorf("plan: %+v", p)
				}
			}
			r := order(t, s, c.filter)
			if r.Filter.Status != c.filter.Status || len(r.Filter.EventIDs) != len(c.filter.EventIDs) {
				t.Errorf("order %+v, want %+v", r.Filter, c.filter)
			}
			carryOut(t, s, r, 2, "book", "mail")
			rows, err := s.Pool().Query(t.Context(), `SELECT encode(uuid_send(event_key), 'hex'), job_kind FROM lumin.runs WHERE state = 'pending'`)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			kinds := map[string]int64{}
			var key, kind string
			_, err = pgx.ForEachRow(rows, []any{&key, &kind}, func() error {
				got = append(got, names[key]+kind)
				kinds[kind]++
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(got)
			if strings.Join(got, " ") != c.want {
				t.Errorf("replayed %q, want %q", got, c.want)
			}
			if !maps.Equal(planned, kinds) {
				t.Errorf("planned %v, replayed %v", planned, kinds)
			}
			failAll(t, s)
		})
	}
}

func TestReplayRefusals(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	now := time.Now()
	before := now.Add(-time.Second)
	for name, f := range map[string]store.ReplayFilter{
		"received": {ReceivedSince: &now, ReceivedUntil: &before},
		"happened": {Status: store.ReplayFailed, EventSince: &now, EventUntil: &before},
		"empty":    {EventSince: &now, EventUntil: &now},
	} {
		if _, err := s.OrderReplay(t.Context(), store.NewReplay{Filter: f}); err == nil || !strings.Contains(err.Error(), "ends before it begins") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.PlanReplay(t.Context(), f); err == nil {
			t.Errorf("%s: planned", name)
		}
	}
	_, err := s.OrderReplay(t.Context(), store.NewReplay{})
	wantError(t, err, store.ErrNoFilter)
	_, err = s.PlanReplay(t.Context(), store.ReplayFilter{Kinds: []string{}})
	wantError(t, err, store.ErrNoFilter)
	if n := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.replays`); n != 0 {
		t.Errorf("%d orders placed", n)
	}

	_, err = s.Replay(t.Context(), 5)
	wantError(t, err, store.ErrNotFound)
	_, err = s.StartReplay(t.Context(), 5)
	wantError(t, err, store.ErrNotFound)
	_, err = s.ReplayPageOf(t.Context(), store.Replay{ID: 5}, nil, 1)
	wantError(t, err, store.ErrNotFound)
	if plan, err := s.PlanReplay(t.Context(), store.ReplayFilter{Status: store.ReplayFailed}); err != nil || len(plan) != 0 {
		t.Errorf("plan of nothing: %v, %v", plan, err)
	}
}

// An order placed with plain SQL has its job in the queue, and whoever works the
// queue is woken.
func TestOrderByInsert(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := storeOn(t, pgtest.Pool(t, url))
	listener, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close(context.WithoutCancel(t.Context()))
	exec(t, listener, `LISTEN "lumin.river_insert"`)

	id := value[int64](t, s.Pool(), `INSERT INTO lumin.replays (job_kinds) VALUES ('{book}') RETURNING id`)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	notification, err := listener.WaitForNotification(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if notification.Payload != `{"queue":"lumin"}` {
		t.Errorf("woken with %s", notification.Payload)
	}
	job := value[string](t, s.Pool(), `SELECT concat_ws(' ', kind, state, queue, args ->> 'order_id') FROM lumin.river_job`)
	if want := fmt.Sprintf("lumin_replay available lumin %d", id); job != want {
		t.Errorf("job %q, want %q", job, want)
	}
	r, err := s.Replay(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if r.State != "ordered" || r.OrderedBy == "" || fmt.Sprint(r.Filter.Kinds) != "[book]" || r.Filter.Status != "" {
		t.Errorf("%+v", r)
	}
	second := order(t, s, store.ReplayFilter{Status: store.ReplayFailed})
	list, err := s.Replays(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].ID != second.ID {
		t.Errorf("the newest order is %+v", list)
	}
}

func TestReplayPages(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var all []store.Delivery
	for n := range 25 {
		all = append(all, delivery(n, "book"))
	}
	fail(t, s, all...)
	r := order(t, s, store.ReplayFilter{Status: store.ReplayFailed})
	var pages []int
	left := len(all)
	for {
		n, err := s.ReplayPageOf(t.Context(), r, specsByKind("book"), 10)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, n)
		left -= n
		at, err := s.Replay(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if at.State != "running" || (at.EnqueuedAt != nil) != (left == 0) {
			t.Errorf("after %v: %+v", pages, at)
		}
		if n == 0 || len(pages) > 10 {
			break
		}
		// Those that fail again at once are not for this order.
		failAll(t, s)
	}
	if fmt.Sprint(pages) != "[10 10 5 0]" {
		t.Errorf("pages of %v", pages)
	}
	if n := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.failures WHERE replay_id = $1`, r.ID); n != 25 {
		t.Errorf("%d runs failed again, want 25", n)
	}
	finish(t, s, r.ID, true)
	if r, _ = s.Replay(t.Context(), r.ID); r.Enqueued != 25 || r.State != "done" || r.Planned == nil || *r.Planned != 25 {
		t.Errorf("%d enqueued", r.Enqueued)
	}
	// But for the next one.
	next := order(t, s, store.ReplayFilter{Status: store.ReplayFailed})
	if n := carryOut(t, s, next, 1000, "book"); n != 25 {
		t.Errorf("the next order replays %d", n)
	}
}

func TestOrdersAtOnce(t *testing.T) {
	t.Parallel()
	s := storeOn(t, poolOf(t, pgtest.New(t), 8))
	var all []store.Delivery
	for n := range 100 {
		all = append(all, delivery(n, "book", "mail"))
	}
	fail(t, s, all...)
	var replayed atomic.Int64
	var group sync.WaitGroup
	orders := []store.Replay{order(t, s, store.ReplayFilter{Status: store.ReplayFailed}), order(t, s, store.ReplayFilter{Kinds: []string{"mail", "book"}})}
	for _, r := range append(orders, orders...) { // each by two workers
		group.Go(func() { replayed.Add(int64(carryOut(t, s, r, 7, "book", "mail"))) })
	}
	group.Wait()
	if replayed.Load() != 200 {
		t.Errorf("%d runs replayed, want 200", replayed.Load())
	}
	var enqueued int64
	for _, r := range orders {
		r, err := s.Replay(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if r.EnqueuedAt == nil {
			t.Errorf("order %d is not at its end", r.ID)
		}
		enqueued += r.Enqueued
	}
	if enqueued != 200 {
		t.Errorf("the orders say %d", enqueued)
	}
	// Exactly one live job for each run, of the order that the run names.
	matching := value[int](t, s.Pool(), `
		SELECT count(*) FROM lumin.runs r JOIN lumin.river_job j
		ON j.args ->> 'event_key' = r.event_key::text AND j.kind = r.job_kind AND (j.args ->> 'replay_id')::bigint = r.replay_id
		WHERE j.state = 'available' AND r.state = 'pending'`)
	live := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.river_job WHERE state = 'available' AND kind <> 'lumin_replay'`)
	if matching != 200 || live != 200 {
		t.Errorf("%d runs with their job, %d live jobs", matching, live)
	}
}

// Runs of kinds that nobody here knows stay failed.
func TestReplayOfUnknownKind(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := delivery(1, "book", "retired")
	fail(t, s, d)
	if n := carryOut(t, s, order(t, s, store.ReplayFilter{Status: store.ReplayFailed}), 1000, "book"); n != 1 {
		t.Errorf("%d runs replayed", n)
	}
	wantState(t, s, d, "retired", "failed 0")
}

// A refusal ends an order, also between two pages of it.
func TestRefuseReplay(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	fail(t, s, delivery(1, "book"), delivery(2, "book"))
	r := order(t, s, store.ReplayFilter{Status: store.ReplayFailed})
	if _, err := s.ReplayPageOf(t.Context(), r, specsByKind("book"), 1); err != nil {
		t.Fatal(err)
	}
	if err := s.EndReplay(t.Context(), r.ID, "refused", "because"); err != nil {
		t.Fatal(err)
	}
	if n := carryOut(t, s, r, 1, "book"); n != 0 {
		t.Errorf("%d runs replayed by a refused order", n)
	}
	again, err := s.StartReplay(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if again.State != "refused" || again.Error != "because" || again.Enqueued != 1 || again.FinishedAt == nil {
		t.Errorf("%+v", again)
	}
	if n := value[int](t, s.Pool(), `SELECT count(*) FROM lumin.runs WHERE state = 'failed'`); n != 1 {
		t.Errorf("%d runs left failed, want 1", n)
	}
	// What is over stays as it is.
	done := order(t, s, store.ReplayFilter{Kinds: []string{"none"}})
	carryOut(t, s, done, 1)
	finish(t, s, done.ID, true)
	if err := s.EndReplay(t.Context(), done.ID, "refused", "too late"); err != nil {
		t.Fatal(err)
	}
	if done, err = s.Replay(t.Context(), done.ID); err != nil || done.State != "done" || done.Error != "" {
		t.Errorf("%+v, %v", done, err)
	}
}

// A replay that takes up a run while an old job still works on it fences that
// job off.
func TestReplayFencesOldJob(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := delivery(1, "book")
	fail(t, s, d)
	r := order(t, s, store.ReplayFilter{Status: store.ReplayFailed})
	carryOut(t, s, r, 1, "book")
	_, err := claim(t, s, attempt(d, "book", 0))
	wantError(t, err, store.ErrRunSettled)
	if err := s.Settle(t.Context(), attempt(d, "book", 0)); err != nil {
		t.Fatal(err)
	}
	wantState(t, s, d, "book", fmt.Sprintf("pending %d", r.ID))
	if _, err := claim(t, s, attempt(d, "book", r.ID)); err != nil {
		t.Fatal(err)
	}
	_, err = claim(t, s, attempt(d, "book", 0))
	wantError(t, err, store.ErrRunSettled)
}
