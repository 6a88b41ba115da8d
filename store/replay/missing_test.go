package replay_test

import (
	"context"
	"fmt"
	"testing"

	"lumin-ingest/internal/pgtest"
	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
)

// recordForMissing records events, and registers job types that miss runs of
// some of them.
func recordForMissing(tb testing.TB, s *store.Store) (all []store.Delivery) {
	tb.Helper()
	for n := range 9 {
		all = append(all, storetest.Delivery(n, "book"))
	}
	all[7].Source = "app:crm"
	all[8].Envelope.EventType = "signature_request_viewed"
	storetest.Record(tb, s, append(all, storetest.From("app:crm", all[3]), store.Delivery{
		Source: "account", Payload: []byte("?"), Signature: make([]byte, 32), KeyID: "k", ReceivedAt: all[0].ReceivedAt,
	})...)
	storetest.Exec(tb, s.Pool(), `UPDATE lumin.events SET payload = NULL, payload_removed_at = now() WHERE signature_request_id = 'request-1'`)
	if _, err := catalog.AddJobTypes(tb.Context(), s.Pool(), []catalog.JobType{
		{Kind: "late", Events: []string{"signature_request_signed"}, Sources: []string{"account"}, Queue: "default"},
		{Kind: "other", Queue: "default"},
	}); err != nil {
		tb.Fatal(err)
	}
	return all
}

func TestReplayMissing(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	all := recordForMissing(t, s)
	f := replay.Filter{Status: replay.Missing, Kinds: []string{"late"}}
	if n := planned(t, s, f); n != 6 {
		t.Errorf("planned %d", n)
	}
	// Event 3 came from two webhooks and has one run, of either source and of
	// any job type.
	for source, want := range map[string]int64{"app:crm": 1, "account": 6} {
		if n := planned(t, s, replay.Filter{Status: replay.Missing, Kinds: []string{"late"}, Sources: []string{source}}); n != want {
			t.Errorf("planned %d of source %s, want %d", n, source, want)
		}
	}
	both := replay.Filter{Status: replay.Missing, Kinds: []string{"other"}}
	if p := planned(t, s, both); p != 8 {
		t.Errorf("planned %d runs of other, want 8", p)
	}
	if r := storetest.Order(t, s, both); *r.Planned != 8 || allPages(t, s, r, storetest.ReplayJobs("other")) != 8 {
		t.Errorf("an order for other plans %d", *r.Planned)
	}
	if left, err := replay.New(s).Excluded(t.Context(), f); err != nil || left.Bodiless != 1 {
		t.Errorf("excluded: %+v, %v", left, err)
	}
	r := storetest.Order(t, s, f)
	before := liveJobs(t, s)
	if n := allPages(t, s, r, storetest.ReplayJobs("late", "other")); n != 6 || liveJobs(t, s)-before != 6 {
		t.Errorf("%d runs, %d jobs, want 6", n, liveJobs(t, s)-before)
	}
	storetest.WantState(t, s, all[0], "late", fmt.Sprintf("pending %d", r.ID))
	// The oldest event's job is the first in the queue.
	if got := storetest.Value[bool](t, s.Pool(), `
		SELECT array_agg(args ->> 'event_key' ORDER BY id) = array_agg(args ->> 'event_key' ORDER BY args ->> 'event_key')
		FROM lumin.river_job WHERE kind = 'late'`); !got {
		t.Error("jobs are not in the order of their events")
	}
	if n := planned(t, s, f); n != 0 {
		t.Errorf("afterwards %d are planned", n)
	}
	// After a cancel only the run that has started remains.
	if _, err := claim(t, s, attempt(all[0], "late", r.ID)); err != nil {
		t.Fatal(err)
	}
	storetest.Exec(t, s.Pool(), `UPDATE lumin.river_job SET state = 'completed', finalized_at = now() WHERE kind = 'late' AND args ->> 'event_key' = $1`, all[0].Envelope.Key().String())
	if got := withdraw(t, s, r.ID); got.Withdrawn != 5 || liveJobs(t, s) != before {
		t.Errorf("withdrawn %d, %d jobs too many", got.Withdrawn, liveJobs(t, s)-before)
	}
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.runs WHERE job_kind = 'late'`); n != 1 {
		t.Errorf("%d runs remain, want 1", n)
	}
}

// An event that is about to be removed, or to lose its body, gets no run. An
// event that is being redelivered gets its run without waiting.
func TestReplayMissingBesideOthers(t *testing.T) {
	t.Parallel()
	for held, want := range map[string]int{
		`DELETE FROM lumin.events`: 0,
		`UPDATE lumin.events SET payload = NULL, payload_removed_at = now() WHERE id IN (SELECT id FROM lumin.events FOR UPDATE)`: 0,
		`SELECT FROM lumin.events FOR NO KEY UPDATE`: 1, // as the recorder does
	} {
		s := storetest.New(t)
		storetest.Record(t, s, storetest.Delivery(1, "book"))
		if _, err := catalog.AddJobTypes(t.Context(), s.Pool(), []catalog.JobType{{Kind: "late", Queue: "default"}}); err != nil {
			t.Fatal(err)
		}
		r := storetest.Order(t, s, replay.Filter{Status: replay.Missing, Kinds: []string{"late"}})
		conn := pgtest.Conn(t, s.Pool().Config().ConnString())
		storetest.Exec(t, conn, `BEGIN`)
		storetest.Exec(t, conn, held)
		ctx, cancel := context.WithTimeout(t.Context(), storetest.Timeout)
		page, err := replay.New(s).TakePage(ctx, r, storetest.ReplayJobs("late"), replay.Position{}, 10)
		cancel()
		if err != nil || page.Enqueued != want {
			t.Errorf("beside %s: %+v, %v", held, page, err)
		}
		storetest.Exec(t, conn, `COMMIT`)
	}
}

// Job types of any sources miss the runs of a recovered event, unless they refuse such
// events.
func TestReplayMissingOfRecovered(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	d := storetest.From(store.RecoveredSource, storetest.Delivery(1))
	storetest.Record(t, s, d)
	if _, err := catalog.AddJobTypes(t.Context(), s.Pool(), []catalog.JobType{
		{Kind: "app_only", Sources: []string{"app:crm"}, Queue: "default"},
		{Kind: "refuses", Queue: "default", RefusesRecovered: true},
	}); err != nil {
		t.Fatal(err)
	}
	f := replay.Filter{Status: replay.Missing, Kinds: []string{"app_only", "refuses"}}
	if n := planned(t, s, f); n != 1 {
		t.Errorf("planned %d, want 1", n)
	}
	for kind, want := range map[string]int{"app_only": 1, "refuses": 0} {
		if runs, err := replay.New(s).Matching(t.Context(), f, kind, 10); err != nil || len(runs) != want {
			t.Errorf("%s: %d runs to try, %v, want %d", kind, len(runs), err, want)
		}
	}
	const statusSQL = `SELECT string_agg(job_kind || ' ' || status, ', ' ORDER BY job_kind) FROM lumin.event_status`
	if got, want := storetest.Value[string](t, s.Pool(), statusSQL), "app_only missing, refuses not_subscribed"; got != want {
		t.Errorf("event_status: %q, want %q", got, want)
	}
	if n := allPages(t, s, storetest.Order(t, s, f), storetest.ReplayJobs("app_only", "refuses")); n != 1 {
		t.Errorf("%d runs, want 1", n)
	}
	storetest.WantState(t, s, d, "app_only", "pending 1")
}
