package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/riverqueue/river"

	"lumin-ingest/store"
)

// eraseTimeout bounds one look at the erasures. After a crash the next look, a
// minute later, goes on.
const eraseTimeout = 10 * time.Minute

// eraseArgs are the arguments of the periodic look at unfinished erasures.
type eraseArgs struct{}

// Kind implements river.JobArgs.
func (eraseArgs) Kind() string { return internalPrefix + "erase" }

// eraser carries on with erasures whose command was cut off, or that had to leave
// something to a job at work; see [store.Store.Erase].
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
	ids, err := w.store.UnfinishedErasures(ctx)
	errs := []error{err}
	for _, id := range ids {
		erasure, err := w.store.Erase(ctx, id)
		if errs = append(errs, err); err == nil && erasure.FinishedAt != nil {
			w.logger.Info("erasure finished", "erasure_id", id, "bodies", erasure.Bodies, "runs_cancelled", erasure.RunsCancelled)
		}
	}
	return errors.Join(errs...)
}
