package worker

import (
	"context"
	"errors"
	"log/slog"

	"github.com/riverqueue/river/rivertype"
)

// outcome is how an attempt ended. The value is a label of
// lumin_attempts_total.
type outcome string

const (
	outcomeSucceeded   outcome = "succeeded"
	outcomeTurnedAway  outcome = "turned_away" // the run was settled before the attempt, or another job does the same internal work
	outcomeParked      outcome = "parked"      // an earlier event of the signature request is not finished
	outcomeRetried     outcome = "retried"
	outcomeFailed      outcome = "failed" // the last attempt, or one that returned JobFail
	outcomeCancelled   outcome = "cancelled"
	outcomeSnoozed     outcome = "snoozed"
	outcomeInterrupted outcome = "interrupted" // by Runtime.Stop; retried, and does not count as an attempt
)

// outcomeOf decides the outcome of an attempt. ctx is the context that River
// passed to the middleware, and err is what [contain] returned.
func outcomeOf(ctx context.Context, row *rivertype.JobRow, err error) outcome {
	var (
		cancel *rivertype.JobCancelError
		snooze *rivertype.JobSnoozeError
	)
	switch {
	case err == nil:
		return outcomeSucceeded
	case errors.Is(err, errParked):
		return outcomeParked
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
		return outcomeInterrupted // even if err does not wrap the error of ctx
	case row.Attempt >= row.MaxAttempts:
		return outcomeFailed
	default:
		return outcomeRetried
	}
}

// stopping reports whether River has cancelled ctx because the Runtime stops.
// The other reasons are a timeout and the cancellation of the job.
func stopping(ctx context.Context) bool {
	cause := context.Cause(ctx)
	return cause != nil && !errors.Is(cause, context.DeadlineExceeded) && !errors.Is(cause, rivertype.ErrJobCancelledRemotely)
}

func panicked(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.stack != nil
}

// hasReason reports whether a snooze wraps an error of the job type.
func hasReason(err error) bool {
	var snooze *rivertype.JobSnoozeError
	return errors.As(err, &snooze) && err.Error() != snooze.Error()
}

// logLine returns the level and the message of the log line of an attempt.
func (o outcome) logLine() (slog.Level, string) {
	switch o {
	case outcomeRetried:
		return slog.LevelWarn, "attempt failed"
	case outcomeFailed:
		return slog.LevelError, "last attempt failed"
	case outcomeCancelled:
		return slog.LevelWarn, "job cancelled"
	}
	return slog.LevelDebug, "attempt " + string(o)
}

// report returns the error that makes River treat the attempt according to its
// outcome.
func (o outcome) report(row *rivertype.JobRow, err error) error {
	switch o {
	case outcomeTurnedAway, outcomeParked:
		return nil
	case outcomeInterrupted:
		// River does not count an attempt that ends with context.Canceled.
		return &failure{text: err.Error(), means: []error{context.Canceled}}
	case outcomeFailed:
		// River compares the attempt with this field of its own row.
		row.MaxAttempts = min(row.MaxAttempts, row.Attempt)
	}
	return err
}
