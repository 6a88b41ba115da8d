package workertest

import (
	"reflect"
	"slices"
	"testing"

	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// Twice makes sure that an event has one effect, however often it comes. It takes
// the event through all that may repeat:
//
//   - the program crashes between the effect and the note that it is there, and
//     the job type's code is called again;
//   - the event is delivered again;
//   - another source reports it, if the job type takes any other;
//   - the job itself is worked again, after its run has succeeded.
//
// effects tells what the job type has done, such as the rows of its table, or
// what [Outside] has seen. After each of these it must tell the same as after the
// first time. It is also called before all of them, and must tell something else
// then, or it would see nothing of the effect.
//
// A transactional job type must leave nothing behind when it crashes: what it does
// past its transaction is found so. A plain one must have had its effect, and have
// none the second time: it hands [store.Event.IdempotencyKey] on. Follow-up jobs are
// worked, but not repeated: their effect is theirs to answer for.
//
// The result is that of the one run that there is; the test goes on after a failure.
func Twice[T any](t testing.TB, db *Database, jobType worker.JobType, event Event, effects func() T, opts ...Option) Result {
	t.Helper()
	before := effects()
	s := db.open(t, jobType, event, append(slices.Clone(opts), Crash(1)))
	defer s.close()
	s.deliverNew(event)
	var left *T // behind by the crash
	s.drive(s.completed, func() {
		if left == nil && s.observer.crashed() {
			left = new(effects())
		}
	})
	if result := s.result(); result.State != "succeeded" || left == nil {
		t.Fatalf("Twice is for a run that succeeds, and this one has %s: %q", result.State, result.Errors)
	}
	after := effects()
	if reflect.DeepEqual(before, after) {
		t.Errorf("effects sees nothing of what %s does: before and after it tells %+v", jobType.Kind(), after)
	}
	crashLeft(t, jobType, before, *left, after)
	same := func(what string) {
		t.Helper()
		if now := effects(); !reflect.DeepEqual(now, after) {
			t.Errorf("%s took effect again when %s:\nonce:  %+v\ntwice: %+v", jobType.Kind(), what, after, now)
		}
	}
	s.repeat(event, same)
	s.oneKey()
	return s.result()
}

// crashLeft judges what was there between the crash and the second call.
func crashLeft[T any](t testing.TB, jobType worker.JobType, before, left, after T) {
	t.Helper()
	switch {
	case isTransactional(jobType) && !reflect.DeepEqual(before, left):
		t.Errorf("%s has an effect although its transaction was rolled back: let WorkTx do everything through tx, and nothing in memory\nbefore:        %+v\nrolled back:   %+v",
			jobType.Kind(), before, left)
	case !isTransactional(jobType) && !reflect.DeepEqual(left, after):
		t.Errorf("%s took effect again when it was called again after a crash: hand e.IdempotencyKey() to the other system, or look first whether the effect is there\nonce:  %+v\ntwice: %+v",
			jobType.Kind(), left, after)
	}
}

// repeat does what may repeat once a run has succeeded.
func (s *session) repeat(event Event, same func(what string)) {
	s.t.Helper()
	if status := s.deliver(event); status != store.Duplicate {
		s.t.Fatalf("a second delivery was %s", status)
	}
	s.drive(s.worked, nil)
	same("the event was delivered again")
	if source, found := s.otherSource(event); found {
		event.Source = source
		s.deliver(event)
		s.drive(s.worked, nil)
		same(source + " reported the event as well")
	}
	s.again()
	same("its job was worked again")
}

// otherSource is one that the job type takes too.
func (s *session) otherSource(event Event) (string, bool) {
	for _, source := range append(slices.Clone(s.observer.Sources()), store.AccountSource, "app:other") {
		if source != event.source() && len(s.registry.Route(source, event.delivery(s.t).Envelope.EventType)) > 0 {
			return source, true
		}
	}
	return "", false
}

// oneKey makes sure that all calls could be told to be of one effect.
func (s *session) oneKey() {
	s.t.Helper()
	calls := s.observer.seen()
	for _, c := range calls {
		if c.key != calls[0].key {
			s.t.Errorf("%s was called under the idempotency keys %s and %s", s.observer.Kind(), calls[0].key, c.key)
		}
	}
}
