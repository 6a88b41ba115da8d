package workertest

import (
	"reflect"
	"slices"
	"testing"

	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// Twice checks that an event has exactly one effect, however often it is
// repeated. It repeats the event in four ways:
//
//   - The program crashes after the effect and before the run is settled, so
//     the job type's code is called again.
//   - The event is delivered again.
//   - Another source reports the event, if the job type subscribes to another
//     one.
//   - The job itself runs again after its run succeeded.
//
// effects returns what the job type has done, such as the rows of its table or
// the effects of [Outside]. Its result must be the same after each repetition.
// Twice also calls effects before the first attempt. That result must be
// different, because otherwise effects would not show the effect.
//
// A transactional job type must leave no effect when it crashes. This reveals
// effects outside its transaction. A plain job type must have its effect at the
// first call and no second one at the next call. It achieves this by passing
// [worker.Event.IdempotencyKey] to the other system. Follow-up jobs run, but
// are not repeated: test them separately.
//
// Twice returns the result of the only run. A second effect does not end the
// test.
func Twice[T any](t testing.TB, db *Database, jobType worker.JobType, event Event, effects func() T, opts ...Option) Result {
	t.Helper()
	before := effects()
	s := db.open(t, jobType, event, append(slices.Clone(opts), Crash(1)))
	defer s.close()
	s.deliverNew(event)
	var left *T // effects after the crash
	s.drive(s.completed, func() {
		if left == nil && s.observer.crashed() {
			left = new(effects())
		}
	})
	if result := s.result(); result.State != "succeeded" || left == nil {
		t.Fatalf("Twice needs a run that succeeds, and this run is %s: %q", result.State, result.Errors)
	}
	after := effects()
	if reflect.DeepEqual(before, after) {
		t.Errorf("effects shows no effect of %s: it returned %+v both before and after", jobType.Kind(), after)
	}
	checkCrash(t, jobType, before, *left, after)
	same := func(what string) {
		t.Helper()
		if now := effects(); !reflect.DeepEqual(now, after) {
			t.Errorf("%s had a second effect when %s:\nonce:  %+v\ntwice: %+v", jobType.Kind(), what, after, now)
		}
	}
	s.repeat(event, same)
	s.checkOneKey()
	return s.result()
}

// checkCrash checks the effects between the crash and the second call.
func checkCrash[T any](t testing.TB, jobType worker.JobType, before, left, after T) {
	t.Helper()
	switch {
	case isTransactional(jobType) && !reflect.DeepEqual(before, left):
		t.Errorf("%s has an effect although its transaction was rolled back: WorkTx must do everything through tx, and nothing in memory\nbefore:        %+v\nrolled back:   %+v",
			jobType.Kind(), before, left)
	case !isTransactional(jobType) && !reflect.DeepEqual(left, after):
		t.Errorf("%s had a second effect when it was called again after a crash: pass e.IdempotencyKey() to the other system, or check first whether the effect exists\nonce:  %+v\ntwice: %+v",
			jobType.Kind(), left, after)
	}
}

// repeat repeats the event in every way that can happen after a run succeeded.
func (s *session) repeat(event Event, same func(what string)) {
	s.t.Helper()
	if status := s.deliver(event); status != store.Duplicate {
		s.t.Fatalf("a second delivery was %s", status)
	}
	s.drive(s.worked, nil)
	same("the event was delivered again")
	if source, found := s.otherSource(event); found {
		event.Source, event.Recovered = source, false
		s.deliver(event)
		s.drive(s.worked, nil)
		same(source + " reported the event as well")
	}
	s.rerunJob()
	same("its job ran again")
}

// otherSource returns another source that the job type subscribes to.
func (s *session) otherSource(event Event) (string, bool) {
	for _, source := range append(slices.Clone(s.observer.Sources()), store.AccountSource, "app:other") {
		if source != event.source() && len(s.registry.Route(source, event.delivery(s.t).Envelope.EventType)) > 0 {
			return source, true
		}
	}
	return "", false
}

// checkOneKey checks that all calls had the same idempotency key.
func (s *session) checkOneKey() {
	s.t.Helper()
	calls := s.observer.recordedCalls()
	for _, c := range calls {
		if c.key != calls[0].key {
			s.t.Errorf("%s was called with the idempotency keys %s and %s", s.observer.Kind(), calls[0].key, c.key)
		}
	}
}
