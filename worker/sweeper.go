package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/riverqueue/river"

	"lumin-ingest/store"
	"lumin-ingest/store/replay"
)

// sweepArgs are the arguments of the periodic sweep.
type sweepArgs struct{}

// Kind implements river.JobArgs.
func (sweepArgs) Kind() string { return internalPrefix + "sweep" }

// sweeper settles what the failure trigger had to leave; see [store.Store.Sweep].
type sweeper struct {
	river.WorkerDefaults[sweepArgs]
	store  *store.Store
	logger *slog.Logger
	next   chan time.Time // where to go on; holds one value, taken while a sweep runs
}

func newSweeper(s *store.Store, logger *slog.Logger) *sweeper {
	w := &sweeper{store: s, logger: logger, next: make(chan time.Time, 1)}
	w.next <- time.Time{}
	return w
}

// Timeout implements river.Worker.
func (*sweeper) Timeout(*river.Job[sweepArgs]) time.Duration { return internalTimeout }

// Work implements river.Worker.
func (w *sweeper) Work(ctx context.Context, _ *river.Job[sweepArgs]) error {
	var from time.Time
	select {
	case from = <-w.next:
	case <-ctx.Done():
		return ctx.Err()
	}
	next := from
	defer func() { w.next <- next }()
	settled, next, err := w.store.Sweep(ctx, from)
	if settled > 0 {
		w.logger.Warn("runs settled by the sweep", "count", settled)
	}
	if err != nil {
		return err
	}
	requeued, err := replay.New(w.store).Requeue(ctx)
	if requeued > 0 {
		w.logger.Warn("replay orders whose job was gone are carried on", "count", requeued)
	}
	return err
}
