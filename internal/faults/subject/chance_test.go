//go:build unix

package subject

import (
	"encoding/binary"
	"testing"

	"lumin-ingest/internal/faults"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

// The seed and the run decide which runs fail. Each fails once.
func TestChance(t *testing.T) {
	t.Parallel()
	counts := map[string]int{}
	fails := func(c *chance) (which []int) {
		for n := range 10_000 {
			e := &worker.Event{JobKind: faults.EffectKind}
			binary.BigEndian.PutUint64(e.Key[:], uint64(n))
			if err := c.coin(e); err != nil {
				which = append(which, n)
				counts[err.Error()]++
				if err := c.coin(e); err != nil {
					t.Fatalf("run %d fails again: %v", n, err)
				}
			}
		}
		return which
	}
	one, again, other := fails(newChance("1", false)), fails(newChance("1", false)), fails(newChance("2", false))
	if len(one) != len(again) || len(one) < 500 || len(one) > 900 || len(counts) != 2 || counts[faults.FailText] < 300 {
		t.Errorf("%d and %d of 10,000 fail, %v", len(one), len(again), counts)
	}
	same := 0
	for i := range min(len(one), len(other)) {
		if one[i] != again[i] {
			t.Fatal("the same seed lets other runs fail")
		}
		if one[i] == other[i] {
			same++
		}
	}
	if same > 100 {
		t.Errorf("two seeds let the same %d runs fail", same)
	}
	if c := newChance("1", true); len(fails(c)) > 0 {
		t.Error("a steady run fails")
	}
	a, b := &worker.Event{Key: lumin.EventKey{1}, JobKind: "a"}, &worker.Event{Key: lumin.EventKey{1}, JobKind: "b"}
	if c := newChance("1", false); c.draw(a, "x").Uint64() == c.draw(b, "x").Uint64() || c.draw(a, "x").Uint64() == c.draw(a, "y").Uint64() {
		t.Error("two job types, or two purposes, have the same numbers")
	}
}
