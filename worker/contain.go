package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"lumin-ingest/internal/redact"
)

// contain calls work and turns a panic into an error. The text of the error is
// clean (see redact.Text), what it wraps can still be found.
func contain(work func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = cleanError(&panicError{value: value, stack: debug.Stack()})
		}
	}()
	return cleanError(work())
}

// panicError is a panic of a job.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

func (e *panicError) Unwrap() error {
	err, _ := e.value.(error)
	return err
}

// cleaned is an error with another text.
type cleaned struct {
	text  string
	cause error
}

func (e *cleaned) Error() string { return e.text }
func (e *cleaned) Unwrap() error { return e.cause }

func cleanError(err error) error {
	if err == nil {
		return nil
	}
	raw := err.Error()
	text := redact.Text(raw)
	if text == raw {
		return err
	}
	return &cleaned{text: text, cause: err}
}

// errTurnedAway ends a job that had nothing to do. River never sees it.
var errTurnedAway = errors.New("nothing to do")

// Outcomes of an attempt, as the metric has them.
const (
	outcomeSucceeded   = "succeeded"
	outcomeTurnedAway  = "turned_away" // the run was settled before
	outcomeRetried     = "retried"
	outcomeFailed      = "failed" // that was the last attempt
	outcomeCancelled   = "cancelled"
	outcomeSnoozed     = "snoozed"
	outcomeInterrupted = "interrupted" // by a stop; tried again without counting
)

func outcomeOf(job *rivertype.JobRow, err error) string {
	var (
		cancel *rivertype.JobCancelError
		snooze *rivertype.JobSnoozeError
	)
	switch {
	case err == nil:
		return outcomeSucceeded
	case errors.Is(err, errTurnedAway):
		return outcomeTurnedAway
	case errors.As(err, &snooze):
		return outcomeSnoozed
	case errors.As(err, &cancel):
		return outcomeCancelled
	case errors.Is(err, context.Canceled):
		return outcomeInterrupted
	case job.Attempt >= job.MaxAttempts:
		return outcomeFailed
	default:
		return outcomeRetried
	}
}

// containment is the outermost middleware of every job that the program works,
// job types or not. River keeps the texts of errors and the metadata that a job
// sets in jsonb, which takes no NUL: one of them would keep River from
// completing any job of this program.
type containment struct {
	river.MiddlewareDefaults
	logger   *slog.Logger
	outcomes *prometheus.CounterVec
}

// Work implements rivertype.WorkerMiddleware.
func (c *containment) Work(ctx context.Context, job *rivertype.JobRow, doInner func(context.Context) error) error {
	metadata := &metadataSpy{Context: ctx}
	err := contain(func() error { return doInner(metadata) })
	metadata.clean()
	outcome := outcomeOf(job, err)
	c.outcomes.WithLabelValues(job.Kind, outcome).Inc()
	c.log(job, outcome, err)
	if outcome == outcomeTurnedAway {
		return nil
	}
	return err
}

func (c *containment) log(job *rivertype.JobRow, outcome string, err error) {
	attrs := []any{"kind", job.Kind, "job_id", job.ID, "attempt", job.Attempt, "max_attempts", job.MaxAttempts}
	if err != nil {
		attrs = append(attrs, "error", err)
	}
	switch outcome {
	case outcomeRetried:
		c.logger.Warn("attempt failed", attrs...)
	case outcomeFailed:
		c.logger.Error("last attempt failed", attrs...)
	case outcomeCancelled:
		c.logger.Warn("job cancelled", attrs...)
	default:
		c.logger.Debug("attempt "+outcome, attrs...)
	}
	var p *panicError
	if errors.As(err, &p) {
		c.logger.Error("panic in a job", "kind", job.Kind, "job_id", job.ID, "stack", string(p.stack))
	}
}

// metadataSpy is the context that River's MetadataSet and RecordOutput look for
// the job's metadata in. River has no way to read what they left there, so the
// spy takes note of the map when they ask for it.
type metadataSpy struct {
	context.Context
	seen map[string]any
}

// Value implements context.Context.
func (s *metadataSpy) Value(key any) any {
	value := s.Context.Value(key)
	if m, ok := value.(map[string]any); ok {
		s.seen = m
	}
	return value
}

// clean takes NULs out of the metadata that the job has set.
func (s *metadataSpy) clean() {
	for key, value := range s.seen {
		encoded, err := json.Marshal(value)
		if err != nil {
			s.seen[key] = "not kept: it cannot be encoded as JSON"
			continue
		}
		if strings.Contains(string(encoded), `\u0000`) {
			s.seen[key] = "not kept: it contains a NUL character"
		}
	}
}
