package worker

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/riverqueue/river"

	"lumin-ingest/internal/redact"
	"lumin-ingest/store"
	"lumin-ingest/store/catalog"
	"lumin-ingest/store/replay"
)

const (
	// otherProgramPause is the pause of an order that waits for another
	// program, which holds the rest of its runs or knows its job types, and of a
	// cancelled order while some of its runs are locked.
	otherProgramPause = pause(time.Second)

	// pacedSlice is the slice of an order with a rate, which mostly waits.
	pacedSlice = 2 * time.Second

	// awaitSlice is how long one step watches for the end of an order: most
	// orders are small.
	awaitSlice = 2 * time.Second
)

// replayArgs are the arguments of the job that carries out a replay order. The
// trigger on lumin.replays writes them.
type replayArgs struct {
	OrderID int64 `json:"order_id"`
}

// Kind implements river.JobArgs.
func (replayArgs) Kind() string { return InternalPrefix + "replay" }

// replayer carries out replay orders. It makes their runs pending, waits until
// all of them are settled, and restores those of a cancelled order.
type replayer struct {
	store   *store.Store
	replays *replay.Store
	jobs    replay.Jobs
	logger  *slog.Logger

	mu        sync.Mutex
	positions map[int64]replay.Position // of unfinished orders, by id
}

func newReplayer(s *store.Store, r *Registry, logger *slog.Logger) *housekeeper[replayArgs] {
	w := &replayer{
		store: s, replays: replay.New(s).Quick(), logger: logger,
		jobs:      replay.Jobs{Specs: r.specs(), Route: r.Route, Ordered: r.orderedKinds()},
		positions: map[int64]replay.Position{},
	}
	return &housekeeper[replayArgs]{timeout: internalTimeout, step: w.step}
}

// step continues an order. After the last failed attempt it ends the order, so
// that no order waits for a job that has ended.
func (w *replayer) step(ctx context.Context, job *river.Job[replayArgs]) (pause, error) {
	order, err := w.replays.Start(ctx, job.Args.OrderID)
	if errors.Is(err, store.ErrNotFound) {
		return done, river.JobCancel(err)
	}
	next := done
	if err == nil {
		next, err = w.advance(ctx, order)
	}
	if err != nil && job.Attempt >= job.MaxAttempts && !stopping(ctx) {
		err = w.giveUp(ctx, job.Args.OrderID, err)
	}
	return next, err
}

// advance does the next part of an order, according to its state.
func (w *replayer) advance(ctx context.Context, order replay.Order) (pause, error) {
	switch {
	case order.Finished():
		w.forget(order.ID)
		return done, nil
	case order.State == "cancelled":
		return w.withdraw(ctx, order)
	case order.EnqueuedAt != nil:
		return w.await(ctx, order)
	default:
		return w.carryOut(ctx, order)
	}
}

// carryOut enqueues the runs of an order, or refuses the order. Job types that
// this program does not know may be known to another one, such as during a
// deployment. The order then waits for that program.
func (w *replayer) carryOut(ctx context.Context, order replay.Order) (pause, error) {
	if err := order.Validate(); err != nil {
		return done, w.end(ctx, order.ID, "refused", err.Error())
	}
	atWork, err := catalog.KindsAtWork(ctx, w.store.Pool())
	if err != nil {
		return done, err
	}
	jobs := w.jobs
	jobs.Elsewhere = slices.DeleteFunc(atWork, w.knows)
	unknown := slices.DeleteFunc(slices.Clone(order.Filter.Kinds), w.knows)
	for _, kind := range unknown {
		if !slices.Contains(jobs.Elsewhere, kind) {
			return done, w.end(ctx, order.ID, "refused", "no running program knows the job types "+strings.Join(unknown, ", "))
		}
	}
	if len(unknown) > 0 {
		return otherProgramPause, nil
	}
	return w.enqueue(ctx, order, jobs)
}

func (w *replayer) knows(kind string) bool {
	_, known := w.jobs.Specs[kind]
	return known
}

// enqueue makes runs pending for one slice, no faster than the order's rate.
func (w *replayer) enqueue(ctx context.Context, order replay.Order, jobs replay.Jobs) (pause, error) {
	start, slice := time.Now(), internalSlice
	limit, enqueued := 0, 0
	if order.Rate > 0 {
		limit, slice = max(order.Rate/2, 1), pacedSlice
	}
	for time.Since(start) < slice {
		page, err := w.replays.TakePage(ctx, order, jobs, w.position(order.ID), limit)
		if err != nil {
			return done, err
		}
		w.setPosition(order.ID, page.Next)
		switch {
		case page.Exhausted:
			return w.await(ctx, order)
		case page.Wait:
			return otherProgramPause, nil
		}
		if enqueued += page.Enqueued; order.Rate > 0 {
			due := start.Add(time.Duration(float64(enqueued) / float64(order.Rate) * float64(time.Second)))
			if err := sleep(ctx, time.Until(due)); err != nil {
				return done, err
			}
		}
	}
	return 0, nil
}

// await ends the order if all its runs are settled within one slice. Otherwise
// the pause grows with the time that the runs take.
func (w *replayer) await(ctx context.Context, order replay.Order) (pause, error) {
	for start := time.Now(); time.Since(start) < awaitSlice; {
		finished, err := w.replays.Finish(ctx, order.ID)
		if err != nil {
			return done, err
		}
		if finished {
			w.forget(order.ID)
			w.logger.Info("replay finished", "replay_id", order.ID)
			return done, nil
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return done, err
		}
	}
	if order.EnqueuedAt == nil { // enqueued in this step
		return pause(time.Second), nil
	}
	// EnqueuedAt is a time of the database's clock, which may be ahead of this
	// machine's.
	return pause(min(max(time.Since(*order.EnqueuedAt)/10, 0), 15*time.Second)), nil
}

// withdraw restores the runs of a cancelled order whose jobs have not started.
func (w *replayer) withdraw(ctx context.Context, order replay.Order) (pause, error) {
	w.forget(order.ID)
	for after, start := int64(0), time.Now(); time.Since(start) < internalSlice; {
		next, finished, err := w.replays.WithdrawPage(ctx, order, after)
		switch {
		case err != nil:
			return done, err
		case finished:
			w.logger.Info("replay cancelled", "replay_id", order.ID)
			return done, nil
		case next == 0:
			return otherProgramPause, nil
		}
		after = next
	}
	return 0, nil
}

// end ends an order before its runs are settled.
func (w *replayer) end(ctx context.Context, id int64, state, reason string) error {
	reason = redact.Text(reason)
	w.forget(id)
	w.logger.Warn("replay "+state, "replay_id", id, "reason", reason)
	return w.replays.End(ctx, id, state, reason)
}

func (w *replayer) giveUp(ctx context.Context, id int64, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeoutGrace)
	defer cancel()
	return errors.Join(cause, w.end(ctx, id, "failed", "given up: "+cause.Error()))
}

func (w *replayer) position(id int64) replay.Position {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.positions[id]
}

func (w *replayer) setPosition(id int64, to replay.Position) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.positions[id] = to
}

func (w *replayer) forget(id int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.positions, id)
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
