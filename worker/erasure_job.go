package worker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/riverqueue/river"

	"lumin-ingest/store"
	"lumin-ingest/store/erasure"
)

// eraseTimeout bounds one pass through the unfinished erasures. After a crash
// the next pass, a minute later, continues.
const eraseTimeout = 10 * time.Minute

// eraser continues erasures whose command was interrupted, or that had to wait
// for a running job; see [erasure.CarryOut].
type eraser struct {
	store  *store.Store
	logger *slog.Logger
}

func newEraser(s *store.Store, logger *slog.Logger) *housekeeper[periodicArgs] {
	w := &eraser{store: s, logger: logger}
	return &housekeeper[periodicArgs]{timeout: eraseTimeout, step: oneAtATime(w.step)}
}

// step does one pass through the unfinished erasures.
func (w *eraser) step(ctx context.Context, _ *river.Job[periodicArgs]) (pause, error) {
	ids, err := erasure.Unfinished(ctx, w.store.Pool())
	errs := []error{err}
	for _, id := range ids {
		order, err := erasure.CarryOut(ctx, w.store.Pool(), id)
		if errs = append(errs, err); err == nil && order.FinishedAt != nil {
			w.logger.Info("erasure finished", "erasure_id", id, "bodies", order.Bodies, "runs_cancelled", order.RunsCancelled)
		}
	}
	return done, errors.Join(errs...)
}
