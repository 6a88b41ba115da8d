package pages

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
)

// Readers of one key share a read. After a change, the next reader reads again.
func TestSnapshotsAreShared(t *testing.T) {
	t.Parallel()
	var reads atomic.Int64
	s := snapshots[laneFilter, int64]{read: func(context.Context, laneFilter) (int64, error) { return reads.Add(1), nil }}
	get := func(f laneFilter) int64 {
		v, err := s.get(t.Context(), f)
		if err != nil {
			t.Error(err)
		}
		return v.Value
	}
	var readers sync.WaitGroup
	for range 20 {
		readers.Go(func() { get(laneFilter{}) })
	}
	readers.Wait()
	if n := reads.Load(); n != 1 {
		t.Errorf("20 readers have read %d times", n)
	}
	if a, b := get(laneFilter{Held: true}), get(laneFilter{}); a != 2 || b != 1 {
		t.Errorf("another filter got %d, the first one %d", a, b)
	}
	s.expire()
	if n := get(laneFilter{}); n != 3 {
		t.Errorf("after a change, a reader got %d", n)
	}
}
