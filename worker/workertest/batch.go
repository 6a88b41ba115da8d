package workertest

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/wait"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

// errPoison is the error of a call that contains a poisoned event.
var errPoison = errors.New("workertest: poisoned event")

// Poison makes events of [Database.RunBatch] fail: the one with this index, and
// others if the option is repeated. Each call that contains such an event fails
// after the job type's code has returned nil, so everything that the call has
// done is rolled back.
func Poison(index int) Option {
	return func(o *options) { o.poison = append(o.poison, index) }
}

// RunBatch records events as the ingest side does and runs a batch job type on
// all of them in one batch. If that fails, the worker tries the events in halves
// as in production. RunBatch returns the result for each event once all runs are
// settled and the jobs that they inserted are done.
//
// [Crash] simulates crashes in the first calls that would have succeeded, such
// as the one with all events. FollowUps lists the jobs of all events in each
// result. The events must differ in SignatureRequestID or Time, and belong to
// one source.
func (db *Database) RunBatch(t testing.TB, jobType worker.Batch, events []Event, opts ...Option) []Result {
	t.Helper()
	if len(events) == 0 {
		t.Fatal("RunBatch needs at least one event")
	}
	opener := Event{Type: events[0].delivery(t).Envelope.EventType, Source: events[0].Source, SignatureRequestID: "workertest-opener"}
	s := db.open(t, jobType, opener, opts)
	defer s.close()
	keys := s.poisonEvents(events, opts)
	s.gather(opener, events, keys)
	results := make([]Result, len(events))
	for i, key := range keys {
		s.key = key
		s.drive(s.completed, nil)
		results[i] = s.result()
	}
	return results
}

// poisonEvents tells the observer which events are poisoned, and returns the
// keys of all events.
func (s *session) poisonEvents(events []Event, opts []Option) []lumin.EventKey {
	s.t.Helper()
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	var keys []lumin.EventKey
	for _, e := range events {
		key := e.delivery(s.t).Envelope.Key()
		if slices.Contains(keys, key) {
			s.t.Fatal("two events of the batch are the same: change a SignatureRequestID or Time")
		}
		keys = append(keys, key)
	}
	s.observer.poison = map[lumin.EventKey]bool{}
	for _, i := range o.poison {
		if i < 0 || i >= len(events) {
			s.t.Fatalf("Poison(%d) of %d events", i, len(events))
		}
		s.observer.poison[keys[i]] = true
	}
	return keys
}

// gather delivers events while the job type works the opener, so that they wait
// and become one batch.
func (s *session) gather(opener Event, events []Event, keys []lumin.EventKey) {
	s.t.Helper()
	release := make(chan struct{})
	defer close(release)
	holds := s.batch.hold(s.key, release)
	s.deliverNew(opener)
	select {
	case <-holds: // otherwise the opener could share its batch with an event
	case <-time.After(s.timeLimit()):
		s.t.Fatalf("WorkBatch was not called within %s", s.timeLimit())
	}
	var last int64
	for i, e := range events {
		s.key = keys[i]
		s.deliverNew(e)
		last = cmp.Or(last, s.lastJob)
	}
	s.lastJob = last
	all := wait.For(s.timeLimit(), func() bool {
		busy := 0
		for _, l := range s.runtime.Load() {
			if slices.Contains(s.registry.Queues(), l.Queue) {
				busy += l.Busy
			}
		}
		return busy > len(events)
	})
	if !all {
		s.t.Fatalf("the %d events were not taken from the queue within %s", len(events), s.timeLimit())
	}
	<-time.After(100 * time.Millisecond) // they wait for the batch as soon as their goroutines run
}

// batch is an observed batch job type. It works the opener itself.
type batch struct {
	*observer
	inner worker.Batch

	holdMu  sync.Mutex
	opener  lumin.EventKey
	holds   chan struct{}   // closed once the job type works the opener
	release <-chan struct{} // nil: there is no opener
}

// BatchLimits implements worker.Batch. The flusher is one, so that events gather
// while it works the opener. All events have a slot.
func (b *batch) BatchLimits() worker.BatchLimits {
	limits := b.inner.BatchLimits()
	limits.Flushers, limits.Slots = 1, 1000
	return limits
}

// hold has the job type work the opener until release is closed. The returned
// channel is closed when that begins.
func (b *batch) hold(opener lumin.EventKey, release <-chan struct{}) <-chan struct{} {
	b.holdMu.Lock()
	defer b.holdMu.Unlock()
	b.opener, b.holds, b.release = opener, make(chan struct{}), release
	return b.holds
}

// held returns the channel to wait for if the call is the first of the opener.
func (b *batch) held(events []*worker.Event) <-chan struct{} {
	b.holdMu.Lock()
	defer b.holdMu.Unlock()
	if b.holds == nil || len(events) > 1 || events[0].Key != b.opener {
		return nil
	}
	close(b.holds)
	b.holds = nil
	return b.release
}

// WorkBatch implements worker.Batch.
func (b *batch) WorkBatch(ctx context.Context, tx pgx.Tx, events []*worker.Event) error {
	if release := b.held(events); release != nil {
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return b.observe(func() error { return b.inner.WorkBatch(ctx, tx, events) }, events...)
}
