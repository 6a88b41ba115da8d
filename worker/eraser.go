package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/riverqueue/river"

	"lumin-ingest/store"
	"lumin-ingest/store/erasure"
)

// eraseTimeout bounds one look at the erasures. After a crash the next look, a
// minute later, goes on.
const eraseTimeout = 10 * time.Minute

// eraseArgs are the arguments of the periodic look at unfinished erasures.
type eraseArgs struct{}

// Kind implements river.JobArgs.
func (eraseArgs) Kind() string { return internalPrefix + "erase" }

// eraser carries on with erasures whose command was cut off, or that had to leave
// something to a job at work; see [erasure.CarryOut].
type eraser struct {
	river.WorkerDefaults[eraseArgs]
	store  *store.Store
	logger *slog.Logger
	busy   sync.Mutex
}

// Timeout implements river.Worker.
func (*eraser) Timeout(*river.Job[eraseArgs]) time.Duration { return eraseTimeout }

// Work implements river.Worker.
func (w *eraser) Work(ctx context.Context, _ *river.Job[eraseArgs]) error {
	if !w.busy.TryLock() {
		return nil // a long one is under way, from a minute ago
	}
	defer w.busy.Unlock()
	ids, err := erasure.Unfinished(ctx, w.store.Pool())
	errs := []error{err}
	for _, id := range ids {
		order, err := erasure.CarryOut(ctx, w.store.Pool(), id)
		if errs = append(errs, err); err == nil && order.FinishedAt != nil {
			w.logger.Info("erasure finished", "erasure_id", id, "bodies", order.Bodies, "runs_cancelled", order.RunsCancelled)
		}
	}
	return errors.Join(errs...)
}
