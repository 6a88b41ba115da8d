package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"lumin-ingest/internal/redact"
)

// failure replaces an error or a panic of a job. River, the database and the
// log see only the failure: methods of the original error may panic, or may
// print personal data.
type failure struct {
	text  string  // clean, see redact.Text
	means []error // errors that River or outcomeOf act on: a snooze, a cancellation, errFinal, context.Canceled
	stack []byte  // of a panic
}

func (f *failure) Error() string   { return f.text }
func (f *failure) Unwrap() []error { return f.means }

// errFinal is in failure.means if the job must not be tried again.
var errFinal = errors.New("final")

// errTurnedAway ends an attempt whose run was settled before it, or whose internal
// work another job does. River never sees this error.
var errTurnedAway error = &failure{text: "nothing to do"}

// errParked ends an attempt whose run was parked: a special case of
// errTurnedAway.
var errParked error = &failure{text: "an earlier event of the signature request is not finished", means: []error{errTurnedAway}}

// JobFail makes the run fail at once with err as its error. Return it from a
// job type if further attempts would not help, such as when another system
// rejects a request as invalid. The run can be replayed like any failed run
// after the cause is fixed. The result may be wrapped.
//
// To end a run for which there is nothing to fix, return [river.JobCancel].
func JobFail(err error) error {
	if err == nil {
		err = errors.New("failed without an error")
	}
	return finalError{err}
}

// finalError is the error that JobFail returns.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

// contain calls work and turns an error or a panic into a failure.
func contain(work func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &failure{text: redact.Text(fmt.Sprintf("panic: %v", value)), stack: debug.Stack()}
		}
	}()
	return clean(work())
}

// isolate is contain for code of users, which may also end its goroutine. River
// would never learn that such a job ended: its worker would be lost, and the
// program could not stop.
func isolate(work func() error) error {
	t := begin(work)
	<-t.done
	return t.err
}

// task is code of users that runs in a goroutine of its own.
type task struct {
	done chan struct{}
	err  error // once done is closed
}

// begin starts what isolate does.
func begin(work func() error) *task {
	t := &task{done: make(chan struct{})}
	t.err = &failure{text: "the job ended its goroutine (runtime.Goexit, t.FailNow): return an error instead"}
	go func() {
		defer close(t.done)
		t.err = contain(work)
	}()
	return t
}

// endsWithin waits for the end of the task, but no longer than the limit.
func (t *task) endsWithin(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-t.done:
		return true
	case <-timer.C:
		return false
	}
}

// clean reduces an error to a failure.
func clean(err error) error {
	if err == nil {
		return nil
	}
	if f, ok := err.(*failure); ok { //nolint:errorlint // a wrapped failure needs cleaning
		return f
	}
	f := &failure{text: redact.Text(err.Error())}
	var (
		snooze *rivertype.JobSnoozeError
		cancel *rivertype.JobCancelError
		final  finalError
	)
	// These are created anew, because the originals may wrap foreign errors.
	if errors.As(err, &snooze) {
		f.means = append(f.means, river.JobSnooze(max(snooze.Duration, 0)))
	}
	if errors.As(err, &cancel) {
		f.means = append(f.means, river.JobCancel(nil))
	}
	if errors.As(err, &final) {
		f.means = append(f.means, errFinal)
	}
	if errors.Is(err, context.Canceled) {
		f.means = append(f.means, context.Canceled)
	}
	return f
}
