package catalog_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"lumin-ingest/store/catalog"
	"lumin-ingest/store/internal/storetest"
)

func TestRegisterJobTypes(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	register := func(types ...catalog.JobType) []string {
		t.Helper()
		unknown, err := catalog.AddJobTypes(t.Context(), s.Pool(), types)
		if err != nil {
			t.Fatal(err)
		}
		return unknown
	}
	if unknown := register(catalog.JobType{Kind: "mail", Queue: "default"}, catalog.JobType{Kind: "book", Queue: "default"}); len(unknown) != 0 {
		t.Errorf("unknown: %v", unknown)
	}
	since := storetest.Value[string](t, s.Pool(), `SELECT since::text FROM lumin.job_types WHERE kind = 'book'`)
	unknown := register(catalog.JobType{Kind: "book", Queue: "slow", Events: []string{"a"}, Sources: []string{"account"}, Transactional: true})
	if fmt.Sprint(unknown) != "[mail]" {
		t.Errorf("unknown: %v", unknown)
	}
	row := storetest.Value[string](t, s.Pool(), `
		SELECT concat_ws(' ', queue, events, sources, transactional, since::text, last_seen > since) FROM lumin.job_types WHERE kind = 'book'`)
	if want := "slow {a} {account} t " + since + " t"; row != want {
		t.Errorf("job type %s, want %s", row, want)
	}
	if unknown := register(); fmt.Sprint(unknown) != "[book mail]" {
		t.Errorf("to a program without job types these are unknown: %v", unknown)
	}
	known, err := catalog.Kinds(t.Context(), s.Pool())
	if err != nil || fmt.Sprint(known) != "[book mail]" {
		t.Errorf("known: %v, %v", known, err)
	}
}

// Programs that start together register the same job types in any order.
func TestRegisterAtOnce(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	var types []catalog.JobType
	for n := range 50 {
		types = append(types, catalog.JobType{Kind: fmt.Sprintf("kind_%02d", n), Queue: "default"})
	}
	reversed := slices.Clone(types)
	slices.Reverse(reversed)
	var programs sync.WaitGroup
	for _, mine := range [][]catalog.JobType{types, reversed, types, reversed} {
		programs.Go(func() {
			for range 10 {
				if _, err := catalog.AddJobTypes(t.Context(), s.Pool(), mine); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	programs.Wait()
}
