package replay_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
)

func TestReplay(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	failed, succeeded, cancelled := storetest.Delivery(1, "book", "mail"), storetest.Delivery(2, "book"), storetest.Delivery(3, "book")
	storetest.Record(t, s, succeeded)
	if err := s.Settle(t.Context(), attempt(succeeded, "book", 0)); err != nil {
		t.Fatal(err)
	}
	storetest.Record(t, s, cancelled)
	finalize(t, s, cancelled, "cancelled")
	fail(t, s, failed)

	r := storetest.Order(t, s, replay.Filter{Status: replay.Failed, Kinds: []string{"book"}})
	if r.State != "running" || r.StartedAt == nil || r.FinishedAt != nil || r.Enqueued != 0 {
		t.Errorf("started: %+v", r)
	}
	if n := carryOut(t, s, r, 1000, "book", "mail"); n != 1 {
		t.Errorf("%d runs replayed, want 1", n)
	}
	storetest.WantState(t, s, failed, "book", fmt.Sprintf("pending %d", r.ID))
	storetest.WantState(t, s, failed, "mail", "failed 0")
	storetest.WantState(t, s, succeeded, "book", "succeeded 0")
	storetest.WantState(t, s, cancelled, "book", "cancelled 0")
	jobs := storetest.Value[string](t, s.Pool(), `
		SELECT string_agg(concat_ws(' ', kind, queue, max_attempts, priority, args ->> 'replay_id'), ', ')
		FROM lumin.river_job WHERE args ->> 'event_key' = $1 AND state = 'available'`, failed.Envelope.Key().String())
	if want := fmt.Sprintf("book default 3 2 %d", r.ID); jobs != want {
		t.Errorf("jobs %q, want %q", jobs, want)
	}

	finish(t, s, r.ID, false) // its run is pending
	done, err := replay.New(s).Get(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if done.State != "running" || done.EnqueuedAt == nil || done.FinishedAt != nil || done.Enqueued != 1 || done.Reason != "a reason" || done.OrderedBy == "" ||
		done.Filter.Status != replay.Failed || fmt.Sprint(done.Filter.Kinds) != "[book]" {
		t.Errorf("done: %+v", done)
	}
	// Enqueued runs stay enqueued if the order is carried out again.
	if n := carryOut(t, s, r, 1000, "book", "mail"); n != 0 {
		t.Errorf("%d runs replayed by an order that is done", n)
	}

	// The replayed run acts once more, and its old failure is kept.
	if _, err := claim(t, s, attempt(failed, "book", r.ID)); err != nil {
		t.Fatal(err)
	}
	finish(t, s, r.ID, true)
	wantFailures(t, s, "cancelled 0 0 []", "failed 0 1 [of replay 0]", "failed 0 1 [of replay 0]")
	counts, err := replay.New(s).Runs(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if want := []store.RunCount{{Kind: "book", State: "succeeded", Runs: 1}}; !slices.Equal(counts, want) {
		t.Errorf("runs of the order: %+v, want %+v", counts, want)
	}
}

func TestReplayRefusals(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	now := time.Now()
	before := now.Add(-time.Second)
	for name, f := range map[string]replay.Filter{
		"received": {ReceivedSince: &now, ReceivedUntil: &before},
		"happened": {Status: replay.Failed, EventSince: &now, EventUntil: &before},
		"empty":    {EventSince: &now, EventUntil: &now},
	} {
		if _, err := replay.New(s).Place(t.Context(), replay.NewOrder{Filter: f}); err == nil || !strings.Contains(err.Error(), "ends before it begins") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := replay.New(s).Plan(t.Context(), f); err == nil {
			t.Errorf("%s: planned", name)
		}
	}
	_, err := replay.New(s).Place(t.Context(), replay.NewOrder{})
	wantError(t, err, replay.ErrNoFilter)
	_, err = replay.New(s).Plan(t.Context(), replay.Filter{Kinds: []string{}})
	wantError(t, err, replay.ErrNoFilter)
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.replays`); n != 0 {
		t.Errorf("%d orders placed", n)
	}

	_, err = replay.New(s).Get(t.Context(), 5)
	wantError(t, err, store.ErrNotFound)
	_, err = replay.New(s).Start(t.Context(), 5)
	wantError(t, err, store.ErrNotFound)
	_, err = replay.New(s).TakePage(t.Context(), replay.Order{ID: 5}, replay.Jobs{}, replay.Position{}, 1)
	wantError(t, err, store.ErrNotFound)
	if plan, err := replay.New(s).Plan(t.Context(), replay.Filter{Status: replay.Failed}); err != nil || !plan.Empty() {
		t.Errorf("plan of nothing: %v, %v", plan, err)
	}
}

// An order placed with plain SQL has its job in the queue, and the clients that
// work the queue are notified.
func TestOrderByInsert(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	s := storetest.On(t, pgtest.Pool(t, url))
	listener, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close(context.WithoutCancel(t.Context()))
	storetest.Exec(t, listener, `LISTEN "lumin.river_insert"`)

	id := storetest.Value[int64](t, s.Pool(), `INSERT INTO lumin.replays (job_kinds) VALUES ('{book}') RETURNING id`)
	ctx, cancel := context.WithTimeout(t.Context(), storetest.Timeout)
	defer cancel()
	notification, err := listener.WaitForNotification(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if notification.Payload != `{"queue":"lumin"}` {
		t.Errorf("woken with %s", notification.Payload)
	}
	job := storetest.Value[string](t, s.Pool(), `SELECT concat_ws(' ', kind, state, queue, args ->> 'order_id') FROM lumin.river_job`)
	if want := fmt.Sprintf("lumin_replay available lumin %d", id); job != want {
		t.Errorf("job %q, want %q", job, want)
	}
	r, err := replay.New(s).Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if r.State != "ordered" || r.OrderedBy == "" || fmt.Sprint(r.Filter.Kinds) != "[book]" || r.Filter.Status != "" {
		t.Errorf("%+v", r)
	}
	second := storetest.Order(t, s, replay.Filter{Status: replay.Failed})
	list, err := replay.New(s).List(t.Context(), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].ID != second.ID {
		t.Errorf("the newest order is %+v", list)
	}
}

func TestReplayFunction(t *testing.T) {
	t.Parallel()
	s := storetest.On(t, pgtest.Pool(t, pgtest.New(t)))
	id := storetest.Value[int64](t, s.Pool(), `SELECT lumin.replay(status => 'succeeded', job_kinds => '{book}', event_ids => '{7}', error_fingerprints => '{abc}', received_since => '2026-01-01Z', rate => 5, reason => 'why')`)
	r, err := replay.New(s).Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	f := r.Filter
	if f.Status != replay.Succeeded || fmt.Sprint(f.Kinds, f.EventIDs, f.ErrorFingerprints, f.Sources) != "[book] [7] [abc] []" ||
		!f.ReceivedSince.Equal(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) || r.Rate != 5 || r.Reason != "why" || r.OrderedBy == "" {
		t.Errorf("%+v", r)
	}
}

// A refusal ends an order, even between two of its pages.
func TestRefuseReplay(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	fail(t, s, storetest.Delivery(1, "book"), storetest.Delivery(2, "book"))
	r := storetest.Order(t, s, replay.Filter{Status: replay.Failed})
	if _, err := takePage(t, s, r, 1, "book"); err != nil {
		t.Fatal(err)
	}
	if err := replay.New(s).End(t.Context(), r.ID, "refused", "because"); err != nil {
		t.Fatal(err)
	}
	if n := carryOut(t, s, r, 1, "book"); n != 0 {
		t.Errorf("%d runs replayed by a refused order", n)
	}
	again, err := replay.New(s).Start(t.Context(), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if again.State != "refused" || again.Error != "because" || again.Enqueued != 1 || again.FinishedAt == nil {
		t.Errorf("%+v", again)
	}
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.runs WHERE state = 'failed'`); n != 1 {
		t.Errorf("%d runs are failed, want 1", n)
	}
	// A finished order stays as it is.
	done := storetest.Order(t, s, replay.Filter{Kinds: []string{"none"}})
	carryOut(t, s, done, 1)
	finish(t, s, done.ID, true)
	if err := replay.New(s).End(t.Context(), done.ID, "refused", "too late"); err != nil {
		t.Fatal(err)
	}
	if done, err = replay.New(s).Get(t.Context(), done.ID); err != nil || done.State != "done" || done.Error != "" {
		t.Errorf("%+v, %v", done, err)
	}
}

func TestRequeueReplays(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	r := storetest.Order(t, s, replay.Filter{Status: replay.Failed})
	for _, c := range []struct {
		lose string
		want int
	}{{`SELECT 1`, 0}, {`DELETE FROM lumin.river_job`, 1}, {`UPDATE lumin.river_job SET state = 'cancelled', finalized_at = now()`, 1}} {
		storetest.Exec(t, s.Pool(), c.lose)
		if n, err := replay.New(s).Requeue(t.Context()); n != c.want || err != nil {
			t.Errorf("after %s: %d, %v", c.lose, n, err)
		}
	}
	carryOut(t, s, r, 1)
	finish(t, s, r.ID, true)
	storetest.Exec(t, s.Pool(), `DELETE FROM lumin.river_job`)
	if n, err := replay.New(s).Requeue(t.Context()); n != 0 || err != nil {
		t.Errorf("an ended order: %d, %v", n, err)
	}
}

// Every enqueued run of an order that has made all its runs pending is counted,
// restored, or replayed later.
func TestReplayedLater(t *testing.T) {
	t.Parallel()
	now := time.Now()
	counts := []store.RunCount{{Kind: "book", State: "failed", Runs: 2}, {Kind: "mail", State: "dismissed", Runs: 3}}
	for name, c := range map[string]struct {
		order replay.Order
		want  int64
	}{
		"done":          {replay.Order{State: "done", Enqueued: 8, FinishedAt: &now}, 3},
		"cancelled":     {replay.Order{State: "cancelled", Enqueued: 8, Withdrawn: 2, FinishedAt: &now}, 1},
		"all enqueued":  {replay.Order{State: "running", Enqueued: 8, EnqueuedAt: &now}, 3},
		"enqueuing":     {replay.Order{State: "running", Enqueued: 8}, 0},
		"restoring":     {replay.Order{State: "cancelled", Enqueued: 8, EnqueuedAt: &now}, 0},
		"all are here":  {replay.Order{State: "done", Enqueued: 5, FinishedAt: &now}, 0},
		"counted later": {replay.Order{State: "running", Enqueued: 4, EnqueuedAt: &now}, 0},
		"events":        {replay.Order{State: "done", Filter: replay.Filter{Status: replay.Unrecognized}, Enqueued: 8, FinishedAt: &now}, 0},
	} {
		if got := c.order.ReplayedLater(counts); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
