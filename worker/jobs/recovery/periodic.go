package recovery

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/riverqueue/river"

	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs/internal/lookup"
)

const (
	sliceTimeout = 5 * time.Minute // also how long a crash delays the work
	sliceLength  = 4 * time.Minute
)

// Periodic returns periodic work that goes through lumin.signature_requests at
// this interval, in slices of four minutes. Each slice continues where the last one
// stopped, and logs its result and each recorded event. If Lumin asks to wait, or its
// API fails, the next slice comes after that time, or five minutes later.
func (r *Recoverer) Periodic(every time.Duration, logger *slog.Logger) worker.Periodic {
	var (
		last string    // signature request of the current pass; empty between passes
		at   time.Time // when the last slice here ended, or may be continued
	)
	// Slices of one pass follow each other at once, unless another program has one in
	// between. Much later, that has ended the pass, and this is another one.
	fresh := max(every/2, 2*cmp.Or(r.slice, sliceTimeout))
	clock := r.clock
	if clock == nil {
		clock = time.Now
	}
	return worker.Periodic{Kind: "recover", Every: every, Timeout: sliceTimeout, Work: func(ctx context.Context) error {
		slice, cancel := context.WithTimeout(ctx, cmp.Or(r.slice, sliceLength))
		defer cancel()
		if clock().Sub(at) > fresh {
			last = ""
		}
		defer func() { at = later(at, clock()) }()
		sliced := *r
		sliced.listed = cmp.Or(r.listed, maxListedSlice)
		if r.Reconcile != nil {
			sliced.Reconcile = r.Reconcile.Logged(logger)
		}
		sliced.Progress = func(p Progress) { last = cmp.Or(p.Last, last) }
		sum, err := sliced.Run(slice, Selection{After: last}, func(f Finding) {
			logger.Info("event recovered", "signature_request_id", f.SignatureRequestID, "event_type", f.EventType, "event_id", f.EventID, "job_kinds", f.JobTypes)
		})
		level := slog.LevelInfo
		if err != nil || sum.Failed > 0 {
			level = slog.LevelWarn
		}
		logger.Log(ctx, level, "recovered from Lumin", "checked", sum.Checked, "recorded", sum.Recorded, "open", sum.Open,
			"other_statuses", sum.Others(), "unknown", len(sum.Unknown), "may_be_retried", sum.Retried, "failed", sum.Failed, "cause", sum.Cause)
		if r.Reconcile != nil {
			sum.Reconciled.Log(ctx, logger)
		}
		if pause, ok := lookup.Pause(slice, err); ok && ctx.Err() == nil {
			at = clock().Add(pause)
			return river.JobSnooze(pause)
		}
		last = ""
		return err
	}}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
