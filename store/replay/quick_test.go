package replay_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/internal/estimate"
	"lumin-ingest/store/internal/storetest"
	"lumin-ingest/store/replay"
)

const filled = 20_000

// estimated returns a Store that has no time for exact plans.
func estimated(s *store.Store) *replay.Store {
	return replay.New(s).WithLimits(estimate.Limits{Exact: 1, Blocks: 128})
}

// Estimates say that they are, and are near the truth for every status and filter.
func TestEstimatedPlans(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Fill(t, s.Pool(), 1, filled)
	fillForPlans(t, s)
	past := time.Now().Add(-time.Hour)
	for name, f := range map[string]replay.Filter{
		"failed":               {Status: replay.Failed},
		"failed by kind":       {Kinds: []string{"book"}},
		"failed by event type": {EventTypes: []string{"signature_request_signed"}},
		"failed by source":     {Sources: []string{"account"}},
		"failed by time":       {ReceivedSince: &past},
		"failed by error":      {ErrorFingerprints: []string{"none"}},
		"succeeded":            {Status: replay.Succeeded, Kinds: []string{"book"}},
		"retrying":             {Status: replay.Retrying},
		"missing":              {Status: replay.Missing, Kinds: []string{"late"}},
		"missing by source":    {Status: replay.Missing, Kinds: []string{"late"}, Sources: []string{"app:crm"}},
	} {
		t.Run(name, func(t *testing.T) {
			exact, err := replay.New(s).Plan(t.Context(), f)
			if err != nil || !exact.Exact || exact.MayMiss != 0 || exact.Runs() == 0 {
				t.Fatalf("exactly: %+v, %v", exact, err)
			}
			f.AsOf = &exact.AsOf
			quick, err := replay.New(s).Quick().Plan(t.Context(), f)
			if err != nil || !reflect.DeepEqual(quick, exact) {
				t.Errorf("quickly %+v, %v, want %+v", quick, err, exact)
			}
			plan, err := estimated(s).Plan(t.Context(), f)
			if err != nil || plan.Exact || plan.MayMiss == 0 || plan.Empty() || len(plan.JobTypes) != len(exact.JobTypes) {
				t.Fatalf("estimated %+v, %v, want %+v", plan, err, exact)
			}
			if got, want := plan.Runs(), exact.Runs(); got < want*2/5 || got > want*8/5 {
				t.Errorf("estimated %d, want about %d", got, want)
			}
			if p := plan.JobTypes[0]; p.FirstEvent == nil || p.FirstEvent.Before(*exact.JobTypes[0].FirstEvent) || p.LastEvent.After(*exact.JobTypes[0].LastEvent) {
				t.Errorf("the times are not of events that match: %+v, want %+v", p, exact.JobTypes[0])
			}
		})
	}
}

// fillForPlans gives each event a copy from another source, makes the pending runs
// retrying, and registers a job type that all events miss.
func fillForPlans(tb testing.TB, s *store.Store) {
	tb.Helper()
	for _, sql := range []string{
		`INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at)
		 SELECT event_key, 'app:crm', signature_request_id, event_type, event_time, payload, payload_sha256, signature, key_id, received_at FROM lumin.events`,
		`UPDATE lumin.river_job SET state = 'retryable' WHERE state = 'available'`,
		`CLUSTER lumin.river_job USING river_job_pkey`, // the update has put them into few blocks, which samples miss
		`ANALYZE lumin.events, lumin.runs, lumin.river_job`,
	} {
		storetest.Exec(tb, s.Pool(), sql)
	}
	if _, err := catalog.AddJobTypes(tb.Context(), s.Pool(), []catalog.JobType{{Kind: "late", Queue: "default"}}); err != nil {
		tb.Fatal(err)
	}
}

// An estimate without any run is no proof that nothing matches: the plan is not
// empty, and says how many runs it may miss.
func TestEstimateMisses(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Fill(t, s.Pool(), 1, filled)
	plan, err := estimated(s).Plan(t.Context(), replay.Filter{Sources: []string{"app:crm"}})
	if err != nil || plan.Exact || plan.Empty() || plan.Runs() != 0 || plan.MayMiss == 0 {
		t.Errorf("%+v, %v", plan, err)
	}
	if plan, err = replay.New(s).Quick().Plan(t.Context(), replay.Filter{Sources: []string{"app:crm"}}); err != nil || !plan.Empty() {
		t.Errorf("exactly: %+v, %v", plan, err)
	}
}

// What is restored and left out is estimated too.
func TestEstimatedRestore(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Fill(t, s.Pool(), 1, filled)
	n, err := replay.New(s).Dismiss(t.Context(), replay.Filter{Status: replay.Failed}, "test data", "ann")
	if err != nil || n != filled/10 {
		t.Fatal(n, err)
	}
	plan, _, err := replay.New(s).Quick().PlanRestore(t.Context(), allFailed())
	if err != nil || !plan.Exact || plan.Runs() != n {
		t.Errorf("%+v, %v", plan, err)
	}
	few := replay.New(s).WithLimits(estimate.Limits{Exact: 1, Blocks: 4}) // the table has more
	plan, _, err = few.PlanRestore(t.Context(), allFailed())
	if err != nil || plan.Exact {
		t.Errorf("%+v, %v", plan, err)
	}
	left, err := few.Excluded(t.Context(), allFailed())
	if err != nil || left.Exact {
		t.Errorf("%+v, %v", left, err)
	}
	if left, err = replay.New(s).Quick().Excluded(t.Context(), allFailed()); err != nil || left != (replay.Excluded{Dismissed: n, Exact: true}) {
		t.Errorf("%+v, %v", left, err)
	}
}

// Unrecognized events are decoded one by one, so an estimate assumes that the rest
// are like those before.
func TestEstimatedUnrecognized(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	d := storetest.Delivery(1)
	for n := range 200 {
		storetest.Exec(t, s.Pool(), `INSERT INTO lumin.events (event_key, source, payload, payload_sha256, signature, key_id, received_at)
			VALUES (gen_random_uuid(), 'account', $1, '', '', 'k', now())`, fmt.Appendf(nil, "%s%*s", d.Payload, n, ""))
	}
	f := replay.Filter{Status: replay.Unrecognized}
	plan, err := replay.New(s).Quick().Plan(t.Context(), f)
	if err != nil || !plan.Exact || plan.Runs() != 200 {
		t.Errorf("%+v, %v", plan, err)
	}
	plan, err = replay.New(s).WithLimits(estimate.Limits{Exact: 1}).Plan(t.Context(), f)
	if err != nil || plan.Exact || plan.Runs() != 200 {
		t.Errorf("estimated %+v, %v", plan, err)
	}
}

// An order starts at once: it stores an estimate of its runs, which is marked, if
// counting them takes long.
func TestStartEstimates(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	storetest.Fill(t, s.Pool(), 1, filled)
	id, err := replay.New(s).Place(t.Context(), replay.NewOrder{Filter: allFailed()})
	if err != nil {
		t.Fatal(err)
	}
	order, err := estimated(s).Start(t.Context(), id)
	if err != nil || order.PlannedExactly || order.Planned == nil || *order.Planned < filled/10*2/5 || *order.Planned > filled/10*8/5 {
		t.Errorf("%+v, %v", order, err)
	}
	again, err := replay.New(s).Start(t.Context(), id)
	if err != nil || again.PlannedExactly || *again.Planned != *order.Planned {
		t.Errorf("again: %+v, %v", again, err)
	}
	if exact := storetest.Order(t, s, allFailed()); !exact.PlannedExactly || *exact.Planned != filled/10 {
		t.Errorf("exactly: %+v", exact)
	}
}
