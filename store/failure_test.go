package store_test

import (
	"fmt"
	"testing"
	"time"
)

func TestFailureGroups(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	messages := []string{
		`invoice 4711 of "Ann" is gone`, `invoice 4712 of "Bob" is gone`, `invoice 9 of "Cy" is gone` + "\nand more",
		`timeout after 3s`, `no row fa5c8a0b0f492d768749333ad6fcc214c111e967`, `no row 6b1f0c1e-9b1d-4f0a-8c55-1f2f3e4d5c6b`,
	}
	for n, message := range messages {
		recordAll(t, s, delivery(n, "book"))
		exec(t, s.Pool(), `UPDATE lumin.river_job SET state = 'discarded', finalized_at = now(), errors = ARRAY[jsonb_build_object('error', $2::text)] WHERE args ->> 'event_key' = $1`,
			delivery(n).Envelope.Key().String(), message)
	}
	fail(t, s, delivery(100, "mail"))
	groups, err := s.FailedGroups(t.Context(), []string{"book"}, nil, 10)
	if err != nil {
		t.Fatal(err)
	}
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
	if groups, err = s.FailedGroups(t.Context(), nil, nil, 2); err != nil || len(groups) != 2 || groups[0].Runs != 3 {
		t.Errorf("the two biggest: %+v, %v", groups, err)
	}
	future := time.Now().Add(time.Hour)
	if groups, err = s.FailedGroups(t.Context(), nil, &future, 2); err != nil || len(groups) != 0 {
		t.Errorf("of the future: %+v, %v", groups, err)
	}
}
