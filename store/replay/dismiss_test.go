package replay_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/erasure"
	"lumin-ingest/store/failures"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
	"lumin-ingest/store/retention"
)

func dismiss(tb testing.TB, s *store.Store, f replay.Filter, want int64) {
	tb.Helper()
	if n, err := replay.New(s).Dismiss(tb.Context(), f, "test data", "ann"); n != want || err != nil {
		tb.Errorf("%d runs dismissed, %v; want %d", n, err, want)
	}
}

func restore(tb testing.TB, s *store.Store, f replay.Filter, want int64) {
	tb.Helper()
	plan, _, err := replay.New(s).PlanRestore(tb.Context(), f)
	var planned int64
	for _, p := range plan.JobTypes {
		planned += p.Runs
	}
	if planned != want || err != nil {
		tb.Errorf("%d runs planned, %v; want %d", planned, err, want)
	}
	if n, err := replay.New(s).Restore(tb.Context(), f); n != want || err != nil {
		tb.Errorf("%d runs restored, %v; want %d", n, err, want)
	}
}

func allFailed() replay.Filter { return replay.Filter{Status: replay.Failed} }

// wantDismissedBooks checks the lists and views after the runs of book were
// dismissed.
func wantDismissedBooks(tb testing.TB, s *store.Store, one store.Delivery) {
	tb.Helper()
	groups, err := failures.Dismissed().Exactly(tb.Context(), s.Pool(), nil, nil, 10)
	if err != nil || len(groups.Groups) != 1 {
		tb.Fatalf("%+v, %v", groups, err)
	}
	if g := groups.Groups[0]; g.Runs != 2 || fmt.Sprint(g.Dismissals) != "[{ann test data 2}]" || g.State != "dismissed" {
		tb.Errorf("%+v", g)
	}
	if failed, err := failures.Failed().Exactly(tb.Context(), s.Pool(), nil, nil, 10); err != nil || len(failed.Groups) != 1 || failed.Groups[0].Kind != "mail" {
		tb.Errorf("still failed: %+v, %v", failed, err)
	}
	if got := storetest.Value[string](tb, s.Pool(), `SELECT concat_ws(' ', count(*), min(reason), min(dismissed_by), min(error)) FROM lumin.dismissed_runs`); got != "2 test data ann of replay 0" {
		tb.Errorf("view: %s", got)
	}
	if got := storetest.Value[string](tb, s.Pool(), `SELECT status FROM lumin.event_status WHERE event_key = $1 AND job_kind = 'book'`, storetest.Key(one)); got != "dismissed" {
		tb.Errorf("event_status: %s", got)
	}
}

func TestDismiss(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	one, two, done := storetest.Delivery(1, "book", "mail"), storetest.Delivery(2, "book"), storetest.Delivery(3, "book")
	storetest.Record(t, s, done)
	if err := s.Settle(t.Context(), attempt(done, "book", 0)); err != nil {
		t.Fatal(err)
	}
	storetest.Exec(t, s.Pool(), `DELETE FROM lumin.river_job`)
	fail(t, s, one, two)
	before := storetest.Value[string](t, s.Pool(), `SELECT string_agg(r::text, E'\n' ORDER BY r::text) FROM lumin.runs r`)

	// A second request changes nothing.
	books := replay.Filter{Kinds: []string{"book"}}
	dismiss(t, s, books, 2)
	dismiss(t, s, books, 0)
	storetest.WantState(t, s, one, "book", "dismissed 0")
	storetest.WantState(t, s, one, "mail", "failed 0")
	storetest.WantState(t, s, done, "book", "succeeded 0")
	wantDismissedBooks(t, s, one)

	// Neither a delivery, a sweep nor a replay changes it.
	storetest.Record(t, s, one, storetest.From("app:crm", one))
	if _, _, err := s.Sweep(t.Context(), time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.SweepEnded(t.Context(), store.EndedPosition{}); err != nil {
		t.Fatal(err)
	}
	if _, err := catalog.AddJobTypes(t.Context(), s.Pool(), []catalog.JobType{{Kind: "book", Queue: "default"}}); err != nil {
		t.Fatal(err)
	}
	for _, f := range []replay.Filter{
		{Status: replay.Failed, Kinds: []string{"book"}}, {Status: replay.Missing, Kinds: []string{"book"}}, {Status: replay.Retrying},
		{Status: replay.Cancelled}, {Status: replay.Succeeded, SignatureRequestIDs: []string{"request-1"}},
	} {
		if n := allPages(t, s, storetest.Order(t, s, f), storetest.ReplayJobs("book")); n != 0 {
			t.Errorf("%s: %d runs replayed", f.Status, n)
		}
	}
	if left, err := replay.New(s).Excluded(t.Context(), books); err != nil || left.Dismissed != 2 {
		t.Errorf("excluded: %+v, %v", left, err)
	}

	restore(t, s, replay.Filter{SignatureRequestIDs: []string{"request-1"}}, 1)
	restore(t, s, allFailed(), 1)
	restore(t, s, allFailed(), 0)
	if after := storetest.Value[string](t, s.Pool(), `SELECT string_agg(r::text, E'\n' ORDER BY r::text) FROM lumin.runs r`); after != before {
		t.Errorf("restored:\n%s\nbefore:\n%s", after, before)
	}
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.dismissals`); n != 0 {
		t.Errorf("%d dismissals remain", n)
	}
	if n := allPages(t, s, storetest.Order(t, s, books), storetest.ReplayJobs("book")); n != 2 {
		t.Errorf("%d restored runs replayed, want 2", n)
	}
}

func TestDismissRefusals(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	fail(t, s, storetest.Delivery(1, "book"))
	_, err := replay.New(s).Dismiss(t.Context(), allFailed(), " \n", "ann")
	wantError(t, err, replay.ErrNoReason)
	_, err = replay.New(s).Dismiss(t.Context(), replay.Filter{}, "why", "ann")
	wantError(t, err, replay.ErrNoFilter)
	if _, err = replay.New(s).Dismiss(t.Context(), replay.Filter{Status: replay.Succeeded, Kinds: []string{"book"}}, "why", "ann"); err == nil {
		t.Error("succeeded runs can be dismissed")
	}
	if _, err := s.Pool().Exec(t.Context(), `SELECT lumin.dismiss_failure(event_key, job_kind, '') FROM lumin.failed_runs`); err == nil || !strings.Contains(err.Error(), "needs a reason") {
		t.Errorf("in SQL without a reason: %v", err)
	}
	storetest.WantState(t, s, storetest.Delivery(1, "book"), "book", "failed 0")
}

// More than one page is dismissed. A run that another transaction has locked is
// skipped. In SQL, any condition on the views may choose the runs.
func TestDismissMany(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	const many = 11_000
	storetest.Exec(t, s.Pool(), `
		WITH e AS (
		    INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
		    SELECT gen_random_uuid(), 'account', 'r', 't', now() + n * interval '1 ms', '', '', '', 'k', now() FROM generate_series(1, $1::int) n RETURNING *
		)
		INSERT INTO lumin.runs (event_key, job_kind, event_id, state, finished_at) SELECT event_key, k, id, 'failed', now() FROM e, unnest('{a,b}'::text[]) k`, many/2)
	tx, err := s.Pool().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT FROM lumin.runs ORDER BY event_key LIMIT 1 FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	dismiss(t, s, allFailed(), many-1)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.failed_runs WHERE lumin.dismiss_failure(event_key, job_kind, 'why')`); n != 1 {
		t.Errorf("%d dismissed in SQL, want the one that was locked", n)
	}
	if by := storetest.Value[bool](t, s.Pool(), `SELECT dismissed_by = current_user FROM lumin.dismissed_runs WHERE reason = 'why'`); !by {
		t.Error("the role that dismissed is not kept")
	}
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.dismissed_runs WHERE job_kind = 'a' AND lumin.restore_failure(event_key, job_kind)`); n != many/2 {
		t.Errorf("%d restored in SQL", n)
	}
	restore(t, s, allFailed(), many/2)
}

// Dismissed runs keep neither their events nor data of an erased person. A run
// whose body has been removed is not restored.
func TestRemoveDismissed(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	erased, bodiless, old := storetest.Delivery(1, "book"), storetest.Delivery(2, "book"), storetest.Delivery(3, "book")
	fail(t, s, erased, bodiless, old)
	dismiss(t, s, allFailed(), 3)

	plan, order := erase(t, s, erasure.Subject{SignatureRequestIDs: []string{"request-1"}})
	if plan.RunsCancelled != 1 || order.RunsCancelled != 1 {
		t.Errorf("planned %+v, erased %+v", plan, order)
	}
	storetest.WantState(t, s, erased, "book", "cancelled 0")

	year := 365 * 24 * time.Hour
	storetest.Exec(t, s.Pool(), `UPDATE lumin.events SET received_at = now() - interval '2 years' WHERE signature_request_id = 'request-2'`)
	if n := retain(t, s, retention.Policy{Payloads: year}); n.Payloads == 0 {
		t.Errorf("retention keeps the body that a dismissed run needed: %+v", n)
	}
	storetest.Exec(t, s.Pool(), `UPDATE lumin.events SET payload = 'x', payload_removed_at = NULL WHERE signature_request_id = 'request-3'`)
	if _, left, err := replay.New(s).PlanRestore(t.Context(), allFailed()); err != nil || left.Bodiless != 1 {
		t.Errorf("%d without a body, %v", left.Bodiless, err)
	}
	restore(t, s, allFailed(), 1)
	storetest.WantState(t, s, bodiless, "book", "dismissed 0")
	storetest.WantState(t, s, old, "book", "failed 0")

	dismiss(t, s, allFailed(), 1)
	storetest.Exec(t, s.Pool(), `UPDATE lumin.events SET received_at = now() - interval '2 years'`)
	if n := retain(t, s, retention.Policy{Events: year}); n.Events != 3 {
		t.Errorf("retention: %+v", n)
	}
	storetest.Exec(t, s.Pool(), `INSERT INTO lumin.dismissals (event_key, job_kind, reason, dismissed_by) VALUES ('018a8ca2-3c4d-8e5f-a012-3456789abcde', 'book', 'of an older program', 'x')`)
	retain(t, s, retention.Policy{Events: year})
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.dismissals`); n != 0 {
		t.Errorf("%d dismissals without a run", n)
	}
}

// Reviving the job makes the run pending again.
func TestReviveDismissed(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	d := storetest.Delivery(1, "book")
	fail(t, s, d)
	dismiss(t, s, allFailed(), 1)
	storetest.Exec(t, s.Pool(), `UPDATE lumin.river_job SET state = 'available', finalized_at = NULL`)
	storetest.WantState(t, s, d, "book", "pending 0")
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.dismissed_runs`); n != 0 {
		t.Errorf("%d dismissed", n)
	}
	storetest.FailAll(t, s)
	storetest.WantState(t, s, d, "book", "failed 0")
	dismiss(t, s, allFailed(), 1) // replaces the old dismissal
}

// A run that took effect, was replayed and failed has succeeded_before.
func TestSucceededBefore(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	d := storetest.Delivery(1, "book")
	receipts := storetest.Record(t, s, d)
	if _, err := claim(t, s, attempt(d, "book", 0)); err != nil {
		t.Fatal(err)
	}
	storetest.Exec(t, s.Pool(), `DELETE FROM lumin.river_job`)
	said := func() string {
		t.Helper()
		e, err := s.ShowEvent(t.Context(), receipts[0].EventID)
		if err != nil {
			t.Fatal(err)
		}
		groups, err := failures.Failed().Exactly(t.Context(), s.Pool(), nil, nil, 1)
		if err != nil {
			t.Fatal(err)
		}
		before := int64(0)
		for _, g := range groups.Groups {
			before += g.SucceededBefore
		}
		return fmt.Sprint(e.RunsByKind[0].State, " ", e.RunsByKind[0].SucceededBefore, " ", before, " ",
			storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.failed_runs WHERE succeeded_before`))
	}
	if got := said(); got != "succeeded false 0 0" {
		t.Errorf("at first: %s", got)
	}
	again := storetest.Order(t, s, replay.Filter{Status: replay.Succeeded, EventIDs: []int64{receipts[0].EventID}})
	if n := allPages(t, s, again, storetest.ReplayJobs("book")); n != 1 {
		t.Fatalf("%d runs replayed", n)
	}
	storetest.FailAll(t, s)
	if got := said(); got != "failed true 1 1" {
		t.Errorf("after a replay that failed: %s", got)
	}
	fail(t, s, storetest.Delivery(2, "mail"))
	if got := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.failed_runs WHERE NOT succeeded_before`); got != 1 {
		t.Errorf("%d others failed", got)
	}
}

func erase(tb testing.TB, s *store.Store, subject erasure.Subject) (erasure.Plan, erasure.Order) {
	tb.Helper()
	plan, err := erasure.NewPlan(tb.Context(), s.Pool(), subject)
	if err != nil {
		tb.Fatal(err)
	}
	id, err := plan.Order(tb.Context(), s.Pool(), "test", "tester")
	if err != nil {
		tb.Fatal(err)
	}
	order, err := erasure.CarryOut(tb.Context(), s.Pool(), id)
	if err != nil || order.FinishedAt == nil {
		tb.Fatalf("not finished: %+v, %v", order, err)
	}
	return plan, order
}

// retain removes what the plan says.
func retain(tb testing.TB, s *store.Store, policy retention.Policy) retention.Removed {
	tb.Helper()
	now := time.Now()
	plan, err := retention.Plan(tb.Context(), s.Pool(), policy, now)
	if err != nil {
		tb.Fatal(err)
	}
	removed, err := retention.Run(tb.Context(), s.Pool(), policy, now)
	if err != nil {
		tb.Fatal(err)
	}
	if removed != plan.Removed {
		tb.Errorf("planned %+v, removed %+v", plan, removed)
	}
	return removed
}
