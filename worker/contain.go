package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"lumin-ingest/internal/redact"
)

// failure is what is left of an error or a panic once [contain] has looked at it.
// River, the database and the log get to see nothing else: the original may have
// methods that panic, or that print what should not be printed.
type failure struct {
	text  string  // clean, see redact.Text
	means []error // what River acts on: a snooze, a cancellation, context.Canceled
	stack []byte  // of a panic
}

// errFinal is among what a failure means when no further attempt is wanted.
var errFinal = errors.New("final")

func (f *failure) Error() string   { return f.text }
func (f *failure) Unwrap() []error { return f.means }

// JobFail is for a job type to return when no further attempt would help, such as
// when another system has called a request wrong. The run ends as failed at once,
// with err as its error, and can be replayed like any failed run once the cause is
// mended. ([river.JobCancel] ends it as cancelled: nothing is to be mended.) Like
// that, it may be wrapped.
func JobFail(err error) error {
	if err == nil {
		err = errors.New("failed without an error")
	}
	return finalError{err}
}

// finalError is an error after which no further attempt is made.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

// errTurnedAway ends a job that had nothing to do. River never sees it.
var errTurnedAway error = &failure{text: "nothing to do"}

// contain calls work and turns an error or a panic into a failure.
func contain(work func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &failure{text: redact.Text(fmt.Sprintf("panic: %v", value)), stack: debug.Stack()}
		}
	}()
	return clean(work())
}

// isolate is contain for code that may also end its goroutine. River would never
// hear of such a job: its slot would be lost, and the program could not stop.
func isolate(work func() error) error {
	var err error = &failure{text: "the job ended its goroutine (runtime.Goexit, t.FailNow): let it return an error instead"}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		err = contain(work)
	}()
	<-finished
	return err
}

// clean reduces an error to a failure.
func clean(err error) error {
	if err == nil {
		return nil
	}
	if f, ok := err.(*failure); ok { //nolint:errorlint // one that is wrapped needs cleaning
		return f
	}
	f := &failure{text: redact.Text(err.Error())}
	var (
		snooze *rivertype.JobSnoozeError
		cancel *rivertype.JobCancelError
		final  finalError
	)
	// Made anew, because those found may wrap what is not ours.
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

// Outcomes of an attempt, as the metric has them.
const (
	outcomeSucceeded   = "succeeded"
	outcomeTurnedAway  = "turned_away" // the run was settled before
	outcomeRetried     = "retried"
	outcomeFailed      = "failed" // that was the last attempt, or made to be it by JobFail
	outcomeCancelled   = "cancelled"
	outcomeSnoozed     = "snoozed"
	outcomeInterrupted = "interrupted" // by a stop; tried again without counting
)

// outcomeOf tells what River makes of the error of an attempt with this context.
func outcomeOf(ctx context.Context, job *rivertype.JobRow, err error) string {
	var (
		cancel *rivertype.JobCancelError
		snooze *rivertype.JobSnoozeError
	)
	switch {
	case err == nil:
		return outcomeSucceeded
	case errors.Is(err, errTurnedAway):
		return outcomeTurnedAway
	case errors.Is(context.Cause(ctx), rivertype.ErrJobCancelledRemotely):
		return outcomeCancelled
	case errors.As(err, &snooze):
		return outcomeSnoozed
	case errors.As(err, &cancel):
		return outcomeCancelled
	case errors.Is(err, errFinal):
		return outcomeFailed
	case stopping(ctx) && !panicked(err):
		return outcomeInterrupted // whether or not its error wraps that of the context
	case job.Attempt >= job.MaxAttempts:
		return outcomeFailed
	default:
		return outcomeRetried
	}
}

func panicked(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.stack != nil
}

// stopping reports whether River has taken the context from its jobs in order to
// stop. The other reasons why a context ends are a timeout and a cancellation.
func stopping(ctx context.Context) bool {
	cause := context.Cause(ctx)
	return cause != nil && !errors.Is(cause, context.DeadlineExceeded) && !errors.Is(cause, rivertype.ErrJobCancelledRemotely)
}

// containment surrounds every job that the program works, job types or not. What
// a job leaves behind must not keep River from completing other jobs, so errors
// are cleaned by [contain] and metadata by [storable]: River keeps both in jsonb,
// and what jsonb refuses would be sent again for ever, with the jobs of others.
type containment struct {
	river.MiddlewareDefaults
	logger   *slog.Logger
	outcomes *prometheus.CounterVec
	keys     riverKeys
	atWork   *atWork
}

// Work implements rivertype.WorkerMiddleware.
func (c *containment) Work(ctx context.Context, job *rivertype.JobRow, doInner func(context.Context) error) error {
	ctx, ended := c.atWork.begin(ctx, job)
	defer ended()
	ctx, about := withSubject(ctx)
	err := contain(func() error { return doInner(ctx) })
	if metadata, ok := ctx.Value(c.keys.metadata).(map[string]any); ok && len(metadata) > 0 {
		makeStorable(metadata)
	}
	outcome := outcomeOf(ctx, job, err)
	if outcome == outcomeInterrupted {
		// By this River knows it for one that does not count.
		err = &failure{text: err.Error(), means: []error{context.Canceled}}
	}
	c.outcomes.WithLabelValues(job.Kind, outcome).Inc()
	c.log(ctx, job, about, outcome, err)
	if outcome == outcomeFailed {
		job.MaxAttempts = min(job.MaxAttempts, job.Attempt) // River asks its copy whether this was the last
	}
	if outcome == outcomeTurnedAway {
		return nil
	}
	return err
}

func (c *containment) log(ctx context.Context, job *rivertype.JobRow, about *subject, outcome string, err error) {
	level, message := slog.LevelDebug, "attempt "+outcome
	switch outcome {
	case outcomeRetried:
		level, message = slog.LevelWarn, "attempt failed"
	case outcomeFailed:
		level, message = slog.LevelError, "last attempt failed"
	case outcomeCancelled:
		level, message = slog.LevelWarn, "job cancelled"
	}
	if !c.logger.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("kind", job.Kind), slog.Int64("job_id", job.ID),
		slog.Int("attempt", job.Attempt), slog.Int("max_attempts", job.MaxAttempts),
	}
	attrs = append(attrs, about.attrs()...)
	var f *failure
	if errors.As(err, &f) {
		attrs = append(attrs, slog.String("error", f.text))
		if f.stack != nil {
			attrs = append(attrs, slog.String("stack", string(f.stack)))
		}
	}
	c.logger.LogAttrs(ctx, level, message, attrs...)
}
