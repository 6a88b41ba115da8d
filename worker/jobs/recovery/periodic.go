package recovery

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/riverqueue/river"

	"lumin-ingest/worker"
)

const (
	sliceTimeout = 5 * time.Minute // also how long a crash delays the work
	sliceLength  = 4 * time.Minute
)

// Periodic returns periodic work that goes through lumin.signature_requests at
// this interval, in slices of four minutes. Each slice continues where the last one
// stopped, and logs its result and each recorded event.
func (r *Recoverer) Periodic(every time.Duration, logger *slog.Logger) worker.Periodic {
	var (
		last string    // signature request of the current pass; empty between passes
		at   time.Time // when the last slice here ended
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
		defer func() { at = clock() }()
		sliced := *r
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
			"unknown", len(sum.Unknown), "may_be_retried", sum.Retried, "failed", sum.Failed, "cause", sum.Cause)
		if r.Reconcile != nil {
			logger.Info("reconciled with Lumin", "differ", sum.Reconciled.Differ, "repaired", sum.Reconciled.Repaired, "gone", sum.Reconciled.Gone)
		}
		if err != nil && slice.Err() != nil && ctx.Err() == nil {
			return river.JobSnooze(0)
		}
		last = ""
		return err
	}}
}
