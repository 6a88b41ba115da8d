package pages

import (
	"cmp"
	"context"
	"sync"
	"time"
)

const (
	// Between two reads of a snapshot, at least snapshotInterval passes, and at
	// least snapshotPause times the duration of the last read, up to
	// snapshotMaxPause. So reads of up to 15 s take less than a twentieth of the
	// time, however many readers there are.
	snapshotInterval = 3 * time.Second
	snapshotPause    = 20
	snapshotMaxPause = 5 * time.Minute

	// snapshotWait is how long a page waits for a newer value if it has an old one,
	// and changeWait how long if something was changed since. Then it shows the old
	// one, with its age, unless it is older than snapshotMaxAge.
	snapshotWait   = 20 * time.Millisecond
	changeWait     = 5 * time.Second
	snapshotMaxAge = 10 * time.Minute

	// snapshotTimeout limits one read. After an error that took slowError, the next
	// read waits as after a result.
	snapshotTimeout = 30 * time.Second
	slowError       = time.Second
)

// snapshot shares the result of a read among all readers. The read runs in the
// background, so a slow one does not hold up a page that has an older value.
type snapshot[T any] struct {
	read func(context.Context) (T, error)

	mu      sync.Mutex
	reading chan struct{} // closed when the current read ends; nil: none is running
	next    time.Time     // earliest start of the next read
	changes int           // calls of expire
	seen    int           // those before last began
	last    value[T]      // the newest result
	err     error         // of the last read
}

// value is the result of a read.
type value[T any] struct {
	Value T
	At    time.Time // when the read began; zero: there was none
}

// get returns the newest value that is available in time. It returns an error only
// without a value.
func (s *snapshot[T]) get(ctx context.Context) (value[T], error) {
	s.mu.Lock()
	if s.reading == nil && !time.Now().Before(s.next) {
		s.reading = make(chan struct{})
		go s.reread(s.reading)
	}
	reading, patience := s.reading, s.patience()
	s.mu.Unlock()
	if reading != nil {
		wait, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		select {
		case <-reading:
		case <-wait.Done():
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.have():
		return s.last, nil
	case s.err != nil:
		return value[T]{}, s.err
	}
	return value[T]{}, cmp.Or(ctx.Err(), context.DeadlineExceeded)
}

// have reports whether there is a value to show.
func (s *snapshot[T]) have() bool {
	return !s.last.At.IsZero() && time.Since(s.last.At) < snapshotMaxAge
}

// patience returns how long a reader waits for the read that runs.
func (s *snapshot[T]) patience() time.Duration {
	switch {
	case !s.have():
		return requestTimeout
	case s.seen != s.changes:
		return changeWait
	}
	return snapshotWait
}

// reread reads until nothing was changed while it did.
func (s *snapshot[T]) reread(done chan struct{}) {
	for !s.readOnce(done) {
	}
}

// readOnce reads once. It reports whether that ended the current read.
func (s *snapshot[T]) readOnce(done chan struct{}) bool {
	ctx, cancel := context.WithTimeout(context.Background(), snapshotTimeout)
	defer cancel()
	s.mu.Lock()
	changes := s.changes
	s.mu.Unlock()
	start := time.Now()
	read, err := s.read(ctx)
	took := time.Since(start)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && changes != s.changes {
		return false
	}
	s.err, s.next = err, time.Now()
	if err == nil {
		s.last, s.seen = value[T]{read, start}, changes
	}
	if err == nil || took > slowError {
		s.next = s.next.Add(min(max(snapshotInterval, snapshotPause*took), snapshotMaxPause))
	}
	s.reading = nil
	close(done)
	return true
}

// expire makes the next reader wait for a new read: something was changed.
func (s *snapshot[T]) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = time.Time{}
	s.changes++
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

// expire makes the next readers of every key wait for a new read.
func (s *snapshots[K, T]) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.all {
		one.expire()
	}
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
