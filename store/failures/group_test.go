package failures_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"lumin-ingest/store"
	"lumin-ingest/store/doctor"
	"lumin-ingest/store/failures"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
)

// list lists groups exactly. A short list that is listed quickly is the same.
func list(tb testing.TB, s *store.Store, l failures.List, kinds []string, since *time.Time, limit int) []failures.Group {
	tb.Helper()
	exact, err := l.Exactly(tb.Context(), s.Pool(), kinds, since, limit)
	if err != nil || !exact.Exact {
		tb.Fatalf("%+v, %v", exact, err)
	}
	quick, err := l.Quickly(tb.Context(), s.Pool(), kinds, since, limit)
	if err != nil || !reflect.DeepEqual(quick, exact) {
		tb.Errorf("quickly %+v, %v, exactly %+v", quick, err, exact)
	}
	return exact.Groups
}

// Runs that wait for their next attempt, or are making it, are grouped like
// failed ones.
func TestRetryingGroups(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Record(t, s, storetest.Delivery(1, "book"), storetest.Delivery(2, "book"), storetest.Delivery(3, "book"), storetest.Delivery(4, "book"), storetest.Delivery(5, "book"))
	for n, state := range map[int]string{1: "retryable", 2: "available", 3: "running", 4: "running"} {
		attempts, a := 2, storetest.Attempt(storetest.Delivery(n), "book")
		a.JobID = storetest.Value[int64](t, s.Pool(), `SELECT id FROM lumin.river_job WHERE args ->> 'event_key' = $1`, a.EventKey.String())
		if n < 4 {
			if err := s.NoteAttempt(t.Context(), a, fmt.Sprintf("invoice %d is gone", n)); err != nil {
				t.Fatal(err)
			}
		} else {
			attempts = 1 // its first
		}
		storetest.Exec(t, s.Pool(), `UPDATE lumin.river_job SET state = $2::lumin.river_job_state, attempt = $3, attempted_at = now(), scheduled_at = now() + $4::int * interval '1 hour' WHERE args ->> 'event_key' = $1`,
			storetest.Delivery(n).Envelope.Key().String(), state, attempts, n)
	}
	groups := list(t, s, failures.Retrying(), nil, nil, 10)
	if len(groups) != 1 {
		t.Fatalf("%+v", groups)
	}
	g := groups[0]
	if g.Runs != 3 || g.State != "retrying" || g.Kind != "book" || g.NextAttempt == nil || time.Until(*g.NextAttempt).Round(time.Minute) != time.Hour {
		t.Errorf("%+v", g)
	}
	if groups := list(t, s, failures.Retrying(), []string{"mail"}, nil, 10); len(groups) != 0 {
		t.Errorf("of another job type: %+v", groups)
	}
	trouble := func(long time.Duration) string {
		t.Helper()
		runs, err := failures.CountTroubled(t.Context(), s.Pool(), long)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(runs)
	}
	if got := trouble(time.Hour); got != "[]" {
		t.Errorf("recent ones trouble: %s", got)
	}
	storetest.Exec(t, s.Pool(), `UPDATE lumin.runs SET pending_since = now() - interval '2 hours'`)
	storetest.Record(t, s, storetest.Delivery(6, "mail"))
	storetest.FailAll(t, s)
	if got := trouble(time.Hour); got != "[{book 2 2} {mail 1 0}]" {
		t.Errorf("trouble: %s", got)
	}
}

// A replayed run keeps its old error. It is not retrying before its new job has
// failed, nor if a program of the version before this one replayed it.
func TestReplayedRunIsNotRetrying(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Record(t, s, storetest.Delivery(1, "book"), storetest.Delivery(2, "book"))
	storetest.FailAll(t, s)
	order := storetest.Order(t, s, replay.Filter{Status: replay.Failed})
	if n := storetest.CarryOut(t, s, order, storetest.ReplayJobs("book"), 10); n != 2 {
		t.Fatalf("%d runs replayed", n)
	}
	storetest.Exec(t, s.Pool(), `UPDATE lumin.runs SET pending_since = now() - interval '2 hours'`)
	storetest.Exec(t, s.Pool(), `UPDATE lumin.runs SET job_id = NULL WHERE event_id = 2`)
	for _, want := range []string{"[]", "[{book 0 1}]"} {
		runs, err := failures.CountTroubled(t.Context(), s.Pool(), time.Hour)
		if err != nil || fmt.Sprint(runs) != want {
			t.Errorf("%v, %v, want %s", runs, err, want)
		}
		queue, err := doctor.ExamineQueue(t.Context(), s.Pool(), time.Hour)
		if err != nil || queue.OldRuns+int64(len(runs)) != 2 {
			t.Errorf("%+v, %v with %v", queue, err, runs)
		}
		storetest.Exec(t, s.Pool(), `UPDATE lumin.river_job SET state = 'retryable', attempt = 1, attempted_at = now() WHERE state = 'available'`)
	}
}

func TestFailureGroups(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	messages := []string{
		`invoice 4711 of "Ann" is gone`, `invoice 4712 of "Bob" is gone`, `invoice 9 of "Cy" is gone` + "\nand more",
		`timeout after 3s`, `no row fa5c8a0b0f492d768749333ad6fcc214c111e967`, `no row 6b1f0c1e-9b1d-4f0a-8c55-1f2f3e4d5c6b`,
	}
	for n, message := range messages {
		storetest.Record(t, s, storetest.Delivery(n, "book"))
		storetest.Exec(t, s.Pool(), `UPDATE lumin.river_job SET state = 'discarded', finalized_at = now(), errors = ARRAY[jsonb_build_object('error', $2::text)] WHERE args ->> 'event_key' = $1`,
			storetest.Delivery(n).Envelope.Key().String(), message)
	}
	storetest.Record(t, s, storetest.Delivery(100, "mail"))
	storetest.FailAll(t, s)
	groups := list(t, s, failures.Failed(), []string{"book"}, nil, 10)
	var counts []int64
	for _, g := range groups {
		counts = append(counts, g.Runs)
		if g.Kind != "book" || g.Fingerprint == "" || g.Error == "" || g.EventID == 0 || g.FirstAt.After(g.LastAt) {
			t.Errorf("%+v", g)
		}
	}
	if fmt.Sprint(counts) != "[3 2 1]" {
		t.Errorf("groups of %v runs, want 3 2 1", counts)
	}
	if groups = list(t, s, failures.Failed(), nil, nil, 2); len(groups) != 2 || groups[0].Runs != 3 {
		t.Errorf("the two biggest: %+v", groups)
	}
	future := time.Now().Add(time.Hour)
	if groups = list(t, s, failures.Failed(), nil, &future, 2); len(groups) != 0 {
		t.Errorf("of the future: %+v", groups)
	}
}

// A group of dismissed runs has all runs of its job type and error, as a restore
// of it reaches them, and its most frequent reasons.
func TestDismissedGroups(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	for n := range 9 {
		storetest.Record(t, s, storetest.Delivery(n, "book"))
	}
	storetest.FailAll(t, s)
	storetest.Exec(t, s.Pool(), `
		SELECT lumin.dismiss_failure(event_key, job_kind, CASE WHEN event_id < 5 THEN 'test data' ELSE 'reason ' || event_id END, CASE WHEN event_id < 4 THEN 'ann' ELSE 'bob' END)
		FROM lumin.failed_runs`)
	groups := list(t, s, failures.Dismissed(), nil, nil, 10)
	if len(groups) != 1 || groups[0].Runs != 9 {
		t.Fatalf("%+v, want one group of 9 runs", groups)
	}
	want := []failures.Dismissal{{By: "ann", Reason: "test data", Runs: 3}}
	for n := 5; n <= 8; n++ {
		want = append(want, failures.Dismissal{By: "bob", Reason: fmt.Sprintf("reason %d", n), Runs: 1})
	}
	if g := groups[0]; !slices.Equal(g.Dismissals, want) || g.OtherDismissals() != 2 {
		t.Errorf("%+v and %d others, want %+v and 2 others", g.Dismissals, g.OtherDismissals(), want)
	}
	if plan, _, err := replay.New(s).PlanRestore(t.Context(), replay.Filter{Kinds: []string{"book"}, ErrorFingerprints: []string{groups[0].Fingerprint}}); err != nil || plan.Runs() != 9 {
		t.Errorf("a restore reaches %d runs, %v", plan.Runs(), err)
	}
}
