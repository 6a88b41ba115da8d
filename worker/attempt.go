package worker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"lumin-ingest/internal/errtext"
	"lumin-ingest/internal/redact"
	"lumin-ingest/internal/tracing"
	"lumin-ingest/store"
)

// storeErrorTimeout bounds the statement that stores the error of an attempt.
const storeErrorTimeout = 2 * time.Second

// attemptMiddleware surrounds every attempt of every job, including the
// internal jobs. It alone decides the outcome of an attempt.
//
// No job may keep River from completing the jobs of others. River stores errors
// and metadata as jsonb, and a value that jsonb refuses would make River repeat
// the failed statement forever, together with the jobs in the same batch.
// Therefore errors are cleaned by [contain] and metadata by [makeStorable].
type attemptMiddleware struct {
	river.MiddlewareDefaults
	store   *store.Store
	logger  *slog.Logger
	tally   *tally
	keys    riverKeys
	running *runningJobs
	tracer  *tracing.Tracer
}

// Work implements rivertype.WorkerMiddleware.
func (m *attemptMiddleware) Work(ctx context.Context, row *rivertype.JobRow, doInner func(context.Context) error) error {
	began := time.Now()
	ctx, job, ended := m.running.begin(ctx, row)
	defer ended()
	ctx, span := m.startSpan(ctx, row)
	err := contain(func() error { return doInner(ctx) })
	err = job.nameTimeout(err)
	if metadata, ok := ctx.Value(m.keys.metadata).(map[string]any); ok && len(metadata) > 0 {
		makeStorable(metadata)
	}
	outcome := outcomeOf(ctx, row, err)
	m.storeError(ctx, job, outcome, err)
	m.tally.count(row.Kind, outcome, began, job.run(), job.event)
	m.log(ctx, row, job, outcome, err)
	endSpan(span, outcome)
	return outcome.report(row, err)
}

// storeError stores the error of an attempt with its run, unless that was the
// last attempt: the failure trigger stores that error. No guarantee depends on
// this, so a failure of it does not change the outcome.
func (m *attemptMiddleware) storeError(ctx context.Context, job *runningJob, outcome outcome, cause error) {
	if job.attempt == nil {
		return
	}
	attempt := *job.attempt
	switch {
	case outcome == outcomeRetried:
	case outcome == outcomeSnoozed && hasReason(cause):
		attempt.Number-- // a snooze does not count
	default:
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeErrorTimeout)
	defer cancel()
	if err := m.store.NoteAttempt(ctx, attempt, cause.Error()); err != nil {
		m.logger.Warn("cannot store the error of an attempt", "kind", attempt.JobKind, "job_id", attempt.JobID,
			"error", errtext.Plain(redact.Text(err.Error())))
	}
}

func (m *attemptMiddleware) log(ctx context.Context, row *rivertype.JobRow, job *runningJob, outcome outcome, err error) {
	level, message := outcome.logLine()
	if !m.logger.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("kind", row.Kind), slog.Int64("job_id", row.ID),
		slog.Int("attempt", row.Attempt), slog.Int("max_attempts", row.MaxAttempts),
	}
	attrs = append(attrs, job.eventAttrs()...)
	attrs = append(attrs, m.tracer.LogAttrs(ctx)...)
	var f *failure
	if errors.As(err, &f) {
		attrs = append(attrs, slog.String("error", f.text))
		if f.stack != nil {
			attrs = append(attrs, slog.String("stack", string(f.stack)))
		}
	}
	m.logger.LogAttrs(ctx, level, message, attrs...)
}
