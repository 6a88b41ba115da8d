package worker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/riverqueue/river"

	"lumin-ingest/store"
	"lumin-ingest/store/replay"
)

// sweeper settles runs that the failure trigger could not settle; see
// [store.Store.SweepEnded] and [store.Store.Sweep]. It also wakes parked runs that were
// left behind, and restores lost jobs of replay orders.
type sweeper struct {
	store  *store.Store
	logger *slog.Logger

	// Positions of the next sweep.
	ended  store.EndedPosition
	next   time.Time
	parked time.Time
}

func newSweeper(s *store.Store, logger *slog.Logger) *housekeeper[periodicArgs] {
	w := &sweeper{store: s, logger: logger}
	return &housekeeper[periodicArgs]{timeout: internalTimeout, step: oneAtATime(w.step)}
}

// step does one sweep.
func (w *sweeper) step(ctx context.Context, _ *river.Job[periodicArgs]) (pause, error) {
	return done, inTurn(ctx, w.settleEnded, w.settlePending, w.wakeParked, w.requeue)
}

// inTurn does all parts, also after one has failed. Each has an equal share of the time
// that is left, and what the parts before it did not need.
func inTurn(ctx context.Context, parts ...func(context.Context) error) error {
	var errs []error
	for i, part := range parts {
		if err := ctx.Err(); err != nil {
			errs = append(errs, err)
			break
		}
		errs = append(errs, within(ctx, len(parts)-i, part))
	}
	return errors.Join(errs...)
}

// within does one of several parts that are left.
func within(ctx context.Context, left int, part func(context.Context) error) error {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
	}
	return part(ctx)
}

func (w *sweeper) settleEnded(ctx context.Context) (err error) {
	var settled int
	settled, w.ended, err = w.store.SweepEnded(ctx, w.ended)
	w.noteSettled(settled)
	return err
}

func (w *sweeper) settlePending(ctx context.Context) (err error) {
	var settled int
	settled, w.next, err = w.store.Sweep(ctx, w.next)
	w.noteSettled(settled)
	return err
}

func (w *sweeper) noteSettled(runs int) {
	if runs > 0 {
		w.logger.Warn("sweep settled runs that the failure trigger had missed", "count", runs)
	}
}

func (w *sweeper) wakeParked(ctx context.Context) (err error) {
	var woken int
	woken, w.parked, err = w.store.SweepParked(ctx, w.parked)
	if woken > 0 {
		w.logger.Info("sweep gave jobs to parked runs that nothing held back", "count", woken)
	}
	return err
}

func (w *sweeper) requeue(ctx context.Context) error {
	requeued, err := replay.New(w.store).Requeue(ctx)
	if requeued > 0 {
		w.logger.Warn("replay orders without a job got a new one", "count", requeued)
	}
	return err
}
