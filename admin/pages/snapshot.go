package pages

import (
	"context"
	"sync"
	"time"
)

const (
	// Between two reads of a snapshot, at least snapshotInterval passes, and at
	// least snapshotPause times the duration of the last read. So reading takes less
	// than a twentieth of the time, however many readers there are.
	snapshotInterval = 2 * time.Second
	snapshotPause    = 20

	// snapshotWait is how long a page waits for a newer value if it has an old one.
	// snapshotMaxAge is how old that may be.
	snapshotWait   = 20 * time.Millisecond
	snapshotMaxAge = 5 * time.Minute

	// snapshotTimeout limits one read.
	snapshotTimeout = 30 * time.Second
)

// snapshot shares the result of a read among all readers. The read runs in the
// background, so a slow one does not hold up a page that has an older value.
type snapshot[T any] struct {
	read func(context.Context) (T, error)

	mu      sync.Mutex
	reading chan struct{} // closed when the current read ends; nil: none is running
	next    time.Time     // earliest start of the next read
	last    value[T]
}

// value is the result of a read.
type value[T any] struct {
	Value T
	At    time.Time // when the read began
	err   error
}

// get returns the newest value that is available in time.
func (s *snapshot[T]) get(ctx context.Context) (value[T], error) {
	s.mu.Lock()
	if s.reading == nil && !time.Now().Before(s.next) {
		s.reading = make(chan struct{})
		go s.reread(s.reading)
	}
	reading, have := s.reading, s.last.err == nil && time.Since(s.last.At) < snapshotMaxAge
	s.mu.Unlock()
	if reading != nil {
		wait := ctx
		if have {
			short, cancel := context.WithTimeout(ctx, snapshotWait)
			defer cancel()
			wait = short
		}
		select {
		case <-reading:
		case <-wait.Done():
			if !have {
				return value[T]{}, ctx.Err()
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.last.err
}

// reread reads once. After an error, the next reader tries again.
func (s *snapshot[T]) reread(done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), snapshotTimeout)
	defer cancel()
	start := time.Now()
	read, err := s.read(ctx)
	took := time.Since(start)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = value[T]{read, start, err}
	s.next = time.Now()
	if err == nil {
		s.next = s.next.Add(max(snapshotInterval, snapshotPause*took))
	}
	s.reading = nil
	close(done)
}

// expire makes the next reader read again: something was changed.
func (s *snapshot[T]) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next, s.last.At = time.Time{}, time.Time{}
}

// maxSnapshots bounds the values of [snapshots].
const maxSnapshots = 64

// snapshots are snapshots by a key, such as an id.
type snapshots[K comparable, T any] struct {
	read func(context.Context, K) (T, error)

	mu  sync.Mutex
	all map[K]*snapshot[T]
}

func (s *snapshots[K, T]) get(ctx context.Context, key K) (value[T], error) {
	return s.of(key).get(ctx)
}

// expire makes the next readers read again.
func (s *snapshots[K, T]) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = nil
}

func (s *snapshots[K, T]) of(key K) *snapshot[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.all[key]
	if one == nil {
		if s.all == nil || len(s.all) >= maxSnapshots {
			s.all = map[K]*snapshot[T]{} // readers of the old ones keep them
		}
		one = &snapshot[T]{read: func(ctx context.Context) (T, error) { return s.read(ctx, key) }}
		s.all[key] = one
	}
	return one
}
