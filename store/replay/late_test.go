package replay_test

import (
	"errors"
	"fmt"
	"testing"

	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
)

// late is a delivery of an event that was too old, so it has no jobs.
func late(d store.Delivery) store.Delivery {
	d.Late, d.Jobs = true, nil
	return d
}

// recordLate records late events and others that miss runs, and registers three
// job types.
func recordLate(tb testing.TB, s *store.Store) (all []store.Delivery) {
	tb.Helper()
	for n := range 8 {
		all = append(all, storetest.Delivery(n))
	}
	all[5].Source = "app:crm"
	all[6].Envelope.EventType = "signature_request_viewed"
	for n := range 7 {
		storetest.Record(tb, s, late(all[n]))
	}
	storetest.Record(tb, s, all[7], late(storetest.From("app:crm", all[3]))) // not late; a second late copy
	storetest.Exec(tb, s.Pool(), `UPDATE lumin.events SET payload = NULL, payload_removed_at = now() WHERE signature_request_id = 'request-1'`)
	if _, err := catalog.AddJobTypes(tb.Context(), s.Pool(), []catalog.JobType{
		{Kind: "book", Events: []string{"signature_request_signed"}, Sources: []string{"account"}, Queue: "default"},
		{Kind: "crm", Sources: []string{"app:crm"}, Queue: "default"},
		{Kind: "none", Events: []string{"signature_request_declined"}, Queue: "default"},
	}); err != nil {
		tb.Fatal(err)
	}
	return all
}

// runsByKind counts the runs of each job type.
func runsByKind(tb testing.TB, s *store.Store) string {
	tb.Helper()
	return storetest.Value[string](tb, s.Pool(), `
		SELECT coalesce(string_agg(job_kind || ' ' || n, ', ' ORDER BY job_kind), '') FROM (SELECT job_kind, count(*) AS n FROM lumin.runs GROUP BY 1) r`)
}

// A replay of late events creates the runs of every job type that subscribes to
// them, once, and of no other event.
func TestReplayLate(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	all := recordLate(t, s)
	f := replay.Filter{Status: replay.Late}
	// book: 0, 2, 3, 4; crm: 3, 5
	if n := planned(t, s, f); n != 6 {
		t.Errorf("planned %d, want 6", n)
	}
	for name, test := range map[string]struct {
		filter replay.Filter
		want   int64
	}{
		"by job type":          {replay.Filter{Kinds: []string{"book"}}, 4},
		"by source":            {replay.Filter{Sources: []string{"app:crm"}}, 3}, // both runs of event 3
		"by event type":        {replay.Filter{EventTypes: []string{"signature_request_viewed"}}, 0},
		"by signature request": {replay.Filter{SignatureRequestIDs: []string{"request-4"}}, 1},
		"that are not late":    {replay.Filter{SignatureRequestIDs: []string{"request-7"}}, 0},
		"without a body":       {replay.Filter{SignatureRequestIDs: []string{"request-1"}}, 0},
		"since the sixth":      {replay.Filter{ReceivedSince: &all[5].ReceivedAt}, 1},
	} {
		test.filter.Status = replay.Late
		if n := planned(t, s, test.filter); n != test.want {
			t.Errorf("%s: planned %d, want %d", name, n, test.want)
		}
	}
	if left, err := replay.New(s).Excluded(t.Context(), f); err != nil || left.Bodiless != 1 {
		t.Errorf("excluded: %+v, %v", left, err)
	}
	jobs := storetest.ReplayJobs("book", "crm", "none")
	r := storetest.Order(t, s, f)
	if n := allPages(t, s, r, jobs); n != 6 || *r.Planned != 6 || runsByKind(t, s) != "book 4, crm 2" || liveJobs(t, s) != 6 {
		t.Errorf("%d runs of %d planned: %s, %d jobs", n, *r.Planned, runsByKind(t, s), liveJobs(t, s))
	}
	storetest.WantState(t, s, all[0], "book", fmt.Sprintf("pending %d", r.ID))
	again := storetest.Order(t, s, f)
	if n := allPages(t, s, again, jobs); n != 0 || *again.Planned != 0 {
		t.Errorf("again: %d runs of %d planned", n, *again.Planned)
	}
	if waiting, err := store.CountWaitingLate(t.Context(), s.Pool()); err != nil || waiting.Events != 0 {
		t.Errorf("afterwards %+v wait, %v", waiting, err)
	}
	// A cancel removes runs whose job has not started, so the events wait again.
	third := storetest.Order(t, s, replay.Filter{Status: replay.Late, SignatureRequestIDs: []string{"request-6"}})
	if n := allPages(t, s, third, jobs); n != 0 {
		t.Errorf("%d runs of an event without a subscriber", n)
	}
}

// A cancelled replay leaves late events as they were.
func TestCancelReplayOfLate(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	recordLate(t, s)
	r := storetest.Order(t, s, replay.Filter{Status: replay.Late})
	if n := allPages(t, s, r, storetest.ReplayJobs("book", "crm", "none")); n != 6 {
		t.Fatalf("%d runs", n)
	}
	if got := withdraw(t, s, r.ID); got.Withdrawn != 6 || liveJobs(t, s) != 0 || runsByKind(t, s) != "" {
		t.Errorf("withdrawn %d; left: %d jobs, %s", got.Withdrawn, liveJobs(t, s), runsByKind(t, s))
	}
	if waiting, err := store.CountWaitingLate(t.Context(), s.Pool()); err != nil || waiting.Events != 5 {
		t.Errorf("%+v wait, %v, want 5", waiting, err)
	}
}

// A replay of missing runs never includes late events, also when they have another
// copy that was not late and is not subscribed to.
func TestReplayMissingExcludesLate(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	all := recordLate(t, s)
	storetest.Record(t, s, storetest.From("app:hr", all[0])) // not late, but no job type gets this source
	f := replay.Filter{Status: replay.Missing, Kinds: []string{"book", "crm", "none"}}
	if n := planned(t, s, f); n != 1 {
		t.Errorf("planned %d, want 1", n)
	}
	if r := storetest.Order(t, s, f); allPages(t, s, r, storetest.ReplayJobs("book", "crm", "none")) != 1 {
		t.Errorf("runs: %s", runsByKind(t, s))
	}
	storetest.WantState(t, s, all[7], "book", "pending 1")
	if n := planned(t, s, replay.Filter{Status: replay.Late}); n != 6 {
		t.Errorf("planned %d late, want 6", n)
	}
}

// Runs of job types that no program knows are skipped and named, and do not hold
// the order up.
func TestReplayLateOfUnknownKind(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	recordLate(t, s)
	r := storetest.Order(t, s, replay.Filter{Status: replay.Late})
	if n := allPages(t, s, r, storetest.ReplayJobs("book")); n != 4 {
		t.Errorf("%d runs", n)
	}
	if got, err := replay.New(s).Get(t.Context(), r.ID); err != nil || got.Error != `runs were skipped because no running program knows their job types: ["crm"]` {
		t.Errorf("%q, %v", got.Error, err)
	}
}

// Two programs that carry out one order at once create each run once.
func TestReplayLateAtOnce(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	for n := range 60 {
		storetest.Record(t, s, late(storetest.Delivery(n)))
	}
	if _, err := catalog.AddJobTypes(t.Context(), s.Pool(), []catalog.JobType{{Kind: "book", Queue: "default"}}); err != nil {
		t.Fatal(err)
	}
	first, second := storetest.Order(t, s, replay.Filter{Status: replay.Late}), storetest.Order(t, s, replay.Filter{Status: replay.Late})
	counts := make(chan int, 4)
	for _, order := range []replay.Order{first, first, second, second} {
		go func() { counts <- allPages(t, s, order, storetest.ReplayJobs("book")) }()
	}
	total := 0
	for range 4 {
		total += <-counts
	}
	if total != 60 || runsByKind(t, s) != "book 60" || liveJobs(t, s) != 60 {
		t.Errorf("%d runs taken; %s, %d jobs", total, runsByKind(t, s), liveJobs(t, s))
	}
}

// Dismissed late events wait for no decision, and replays skip them. Restored, their
// runs are failed ones.
func TestDismissLate(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	recordLate(t, s)
	replays, late := replay.New(s), replay.Filter{Status: replay.Late}
	dismiss := func(f replay.Filter, want int64) {
		t.Helper()
		if n, err := replays.Dismiss(t.Context(), f, "done by hand", "ann"); err != nil || n != want {
			t.Errorf("dismissed %d, %v, want %d", n, err, want)
		}
	}
	if _, err := replays.Dismiss(t.Context(), late, " ", "ann"); !errors.Is(err, replay.ErrNoReason) {
		t.Errorf("without a reason: %v", err)
	}
	dismiss(replay.Filter{Status: replay.Late, SignatureRequestIDs: []string{"request-3"}}, 2)
	dismiss(replay.Filter{Status: replay.Late, Kinds: []string{"crm"}}, 1)
	if waiting, err := store.CountWaitingLate(t.Context(), s.Pool()); err != nil || waiting.Events != 3 {
		t.Errorf("%+v wait, %v, want 3", waiting, err)
	}
	dismiss(late, 3)
	dismiss(late, 0)
	if waiting, err := store.CountWaitingLate(t.Context(), s.Pool()); err != nil || waiting.Events != 0 {
		t.Errorf("%+v wait, %v", waiting, err)
	}
	if n := planned(t, s, late); n != 0 || runsByKind(t, s) != "book 4, crm 2" || liveJobs(t, s) != 0 {
		t.Errorf("planned %d; %s, %d jobs", n, runsByKind(t, s), liveJobs(t, s))
	}
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.dismissed_runs WHERE reason = 'done by hand' AND dismissed_by = 'ann'`); n != 6 {
		t.Errorf("%d dismissed runs have the reason and the name", n)
	}
	if n, err := replays.Restore(t.Context(), replay.Filter{Kinds: []string{"crm"}}); err != nil || n != 2 {
		t.Errorf("restored %d, %v", n, err)
	}
	r := storetest.Order(t, s, replay.Filter{Status: replay.Failed})
	if n := allPages(t, s, r, storetest.ReplayJobs("book", "crm")); n != 2 || liveJobs(t, s) != 2 {
		t.Errorf("replayed %d", n)
	}
}

// Dismissing and replaying at once gives each run to one of them.
func TestDismissLateBesideReplay(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	for n := range 60 {
		storetest.Record(t, s, late(storetest.Delivery(n)))
	}
	if _, err := catalog.AddJobTypes(t.Context(), s.Pool(), []catalog.JobType{{Kind: "book", Queue: "default"}}); err != nil {
		t.Fatal(err)
	}
	order := storetest.Order(t, s, replay.Filter{Status: replay.Late})
	replayed := make(chan int)
	go func() { replayed <- allPages(t, s, order, storetest.ReplayJobs("book")) }()
	dismissed, err := replay.New(s).Dismiss(t.Context(), replay.Filter{Status: replay.Late}, "done by hand", "ann")
	if n := <-replayed; err != nil || n+int(dismissed) != 60 || liveJobs(t, s) != n {
		t.Errorf("replayed %d, dismissed %d, %v; %d jobs", n, dismissed, err, liveJobs(t, s))
	}
	if n := storetest.Value[int](t, s.Pool(), `SELECT count(*) FROM lumin.runs r FULL JOIN lumin.dismissals d USING (event_key, job_kind) WHERE (r.state = 'dismissed') IS DISTINCT FROM (d.reason IS NOT NULL)`); n != 0 {
		t.Errorf("%d runs are dismissed without a dismissal, or the other way round", n)
	}
}
