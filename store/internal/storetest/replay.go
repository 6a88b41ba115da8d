package storetest

import (
	"testing"

	"lumin-ingest/store"
	"lumin-ingest/store/replay"
)

// Order places a replay order and starts it.
func Order(tb testing.TB, s *store.Store, f replay.Filter) replay.Order {
	tb.Helper()
	replays := replay.New(s)
	id, err := replays.Place(tb.Context(), replay.NewOrder{Filter: f, Reason: "a reason"})
	if err != nil {
		tb.Fatal(err)
	}
	order, err := replays.Start(tb.Context(), id)
	if err != nil {
		tb.Fatal(err)
	}
	return order
}

// CarryOut takes pages of at most limit runs until one is empty, and returns
// the number of runs.
func CarryOut(tb testing.TB, s *store.Store, order replay.Order, jobs replay.Jobs, limit int) (runs int) {
	tb.Helper()
	for {
		page, err := replay.New(s).TakePage(tb.Context(), order, jobs, replay.Position{}, limit)
		if err != nil {
			tb.Error(err)
			return runs
		}
		if page.Enqueued == 0 && !page.Wait {
			return runs
		}
		runs += page.Enqueued
	}
}

// ReplayJobs are the job types that replays may enqueue.
func ReplayJobs(kinds ...string) replay.Jobs {
	jobs := replay.Jobs{Specs: map[string]store.JobSpec{}}
	for _, spec := range Specs(kinds...) {
		jobs.Specs[spec.Kind] = spec
	}
	return jobs
}
