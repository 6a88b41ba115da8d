package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/riverqueue/river"

	"lumin-ingest/store"
	"lumin-ingest/store/replay"
)

// sweeper settles runs that the failure trigger could not settle; see
// [store.Store.Sweep]. It also wakes parked runs that were left behind, and
// restores lost jobs of replay orders.
type sweeper struct {
	store  *store.Store
	logger *slog.Logger
	next   time.Time // position of the next sweep
	parked time.Time // position of the next sweep of parked runs
}

func newSweeper(s *store.Store, logger *slog.Logger) *housekeeper[periodicArgs] {
	w := &sweeper{store: s, logger: logger}
	return &housekeeper[periodicArgs]{timeout: internalTimeout, step: oneAtATime(w.step)}
}

// step does one sweep.
func (w *sweeper) step(ctx context.Context, _ *river.Job[periodicArgs]) (pause, error) {
	settled, next, err := w.store.Sweep(ctx, w.next)
	w.next = next
	if settled > 0 {
		w.logger.Warn("sweep settled runs that the failure trigger had missed", "count", settled)
	}
	if err != nil {
		return done, err
	}
	woken, parked, err := w.store.SweepParked(ctx, w.parked)
	w.parked = parked
	if woken > 0 {
		w.logger.Info("sweep gave jobs to parked runs that nothing held back", "count", woken)
	}
	if err != nil {
		return done, err
	}
	requeued, err := replay.New(w.store).Requeue(ctx)
	if requeued > 0 {
		w.logger.Warn("replay orders without a job got a new one", "count", requeued)
	}
	return done, err
}
