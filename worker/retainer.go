package worker

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/riverqueue/river"

	"lumin-ingest/store"
	"lumin-ingest/store/retention"
)

// retainEvery is how often a program looks for what is too old.
const retainEvery = 10 * time.Minute

// retainArgs are the arguments of the periodic retention.
type retainArgs struct{}

// Kind implements river.JobArgs.
func (retainArgs) Kind() string { return internalPrefix + "retain" }

// retainPause is between two slices of a pass that takes long.
const retainPause = time.Second

// retainer removes what is older than it is to be kept; see [retention.Pass].
type retainer struct {
	river.WorkerDefaults[retainArgs]
	store  *store.Store
	policy retention.Policy
	slice  time.Duration
	logger *slog.Logger

	busy sync.Mutex
	pass *retention.Pass // under way, if any
}

// Timeout implements river.Worker.
func (*retainer) Timeout(*river.Job[retainArgs]) time.Duration { return internalTimeout }

// Work implements river.Worker. It does one slice of a pass. The job is snoozed
// until the pass is finished, and continues where it stopped.
func (w *retainer) Work(ctx context.Context, _ *river.Job[retainArgs]) error {
	if !w.busy.TryLock() {
		return nil // a pass is under way, whose job comes again
	}
	defer w.busy.Unlock()
	if w.pass == nil {
		now, err := w.store.Now(ctx)
		if err != nil {
			return err
		}
		w.pass = retention.NewPass(w.policy, now)
	}
	removed, err := w.pass.Continue(ctx, w.store.Pool(), w.slice)
	if removed.Rows() > 0 {
		w.logger.Info("retention", "bodies", removed.Payloads, "events", removed.Events, "runs", removed.Runs, "redeliveries", removed.Redeliveries)
	}
	switch {
	case err != nil:
		return err
	case !w.pass.Finished():
		return river.JobSnooze(retainPause) // let others in
	}
	w.pass = nil
	return nil
}
