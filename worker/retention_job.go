package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/riverqueue/river"

	"lumin-ingest/store"
	"lumin-ingest/store/retention"
)

// retainPause separates two slices of a long pass, so that other statements
// run.
const retainPause = pause(time.Second)

// retainer removes what is older than its retention period; see
// [retention.Pass].
type retainer struct {
	store  *store.Store
	policy retention.Policy
	slice  time.Duration
	logger *slog.Logger
	count  func(retention.Removed)
	pass   *retention.Pass // nil between two passes
}

func newRetainer(s *store.Store, policy retention.Policy, slice time.Duration, removed func(retention.Removed), logger *slog.Logger) *housekeeper[periodicArgs] {
	w := &retainer{store: s, policy: policy, slice: slice, logger: logger, count: removed}
	return &housekeeper[periodicArgs]{timeout: internalTimeout, step: oneAtATime(w.step)}
}

// step does one slice of a pass, continuing where the last slice stopped.
func (w *retainer) step(ctx context.Context, _ *river.Job[periodicArgs]) (pause, error) {
	if w.pass == nil {
		now, err := w.store.Now(ctx)
		if err != nil {
			return done, err
		}
		w.pass = retention.NewPass(w.policy, now)
	}
	removed, err := w.pass.Continue(ctx, w.store.Pool(), w.slice)
	w.count(removed)
	if removed.Rows() > 0 {
		w.logger.Info("retention", "bodies", removed.Payloads, "events", removed.Events, "runs", removed.Runs, "redeliveries", removed.Redeliveries)
	}
	switch {
	case err != nil:
		return done, err
	case !w.pass.Finished():
		return retainPause, nil
	}
	w.pass = nil
	return done, nil
}
