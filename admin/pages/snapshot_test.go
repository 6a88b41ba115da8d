package pages

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
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

// slowRead is a snapshot whose reads return the state at their begin, and take a time.
type slowRead struct {
	snapshot[int64]
	state, reads atomic.Int64
	takes        time.Duration
	err          error
}

func newSlowRead(takes time.Duration) *slowRead {
	s := &slowRead{takes: takes}
	s.read = func(context.Context) (int64, error) {
		s.reads.Add(1)
		state, err := s.state.Load(), s.err
		time.Sleep(s.takes)
		return state, err
	}
	return s
}

// want gets the value and compares it, and the time for which the reader waited.
func (s *slowRead) want(t *testing.T, state int64, waited time.Duration) {
	t.Helper()
	begin := time.Now()
	v, err := s.get(t.Context())
	if took := time.Since(begin); err != nil || v.Value != state || took != waited {
		t.Errorf("got %d, %v after %v, want %d after %v", v.Value, err, took, state, waited)
	}
}

// A read that began before a change does not show the state before it.
func TestChangeWhileReading(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSlowRead(2 * time.Second)
		s.want(t, 0, 2*time.Second)
		time.Sleep(snapshotPause * s.takes)
		s.want(t, 0, snapshotWait) // a new read begins
		s.state.Store(1)
		s.expire()
		s.want(t, 1, 4*time.Second-snapshotWait)
		s.want(t, 1, 0)
		if n := s.reads.Load(); n != 3 {
			t.Errorf("%d reads, want 3", n)
		}
	})
}

// A reader who has changed something gets the old value if the new one takes long.
func TestSlowReadAfterChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSlowRead(8 * time.Second)
		s.want(t, 0, 8*time.Second)
		s.state.Store(1)
		s.expire()
		s.want(t, 0, changeWait)
		s.want(t, 1, 3*time.Second)
	})
}

// After an error, the last value is shown. The next read waits if the error took long.
func TestReadFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSlowRead(5 * time.Second)
		s.want(t, 0, 5*time.Second)
		time.Sleep(snapshotPause * s.takes)
		s.err = errors.New("too slow")
		s.want(t, 0, snapshotWait)
		time.Sleep(s.takes)
		for range 3 {
			s.want(t, 0, 0)
		}
		if n := s.reads.Load(); n != 2 {
			t.Errorf("%d reads, want 2", n)
		}
		time.Sleep(snapshotMaxAge)
		if _, err := s.get(t.Context()); !errors.Is(err, s.err) {
			t.Errorf("long after the last value: %v", err)
		}
	})
}
