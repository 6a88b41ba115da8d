package storetest

import (
	"testing"

	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
)

// Register registers transactional job types.
func Register(tb testing.TB, s *store.Store, kinds ...string) {
	tb.Helper()
	var types []catalog.JobType
	for _, kind := range kinds {
		types = append(types, catalog.JobType{Kind: kind, Queue: "default", Transactional: true})
	}
	if _, err := catalog.AddJobTypes(tb.Context(), s.Pool(), types); err != nil {
		tb.Fatal(err)
	}
}
