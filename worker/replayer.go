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

// replayArgs are the arguments of the job that carries out a replay order. The
// trigger on lumin.replays writes them.
type replayArgs struct {
	OrderID int64 `json:"order_id"`
}

// Kind implements river.JobArgs.
func (replayArgs) Kind() string { return internalPrefix + "replay" }

// replayer carries out replay orders: it puts their runs to pending, waits until
// all of them are settled, and takes them back when an order is cancelled.
type replayer struct {
	river.WorkerDefaults[replayArgs]
	store   *store.Store
	replays *replay.Store
	jobs    replay.Jobs
	logger  *slog.Logger

	mu        sync.Mutex
	positions map[int64]replay.Position // of orders under way, by id
}

func newReplayer(s *store.Store, r *Registry, logger *slog.Logger) *replayer {
	return &replayer{
		store: s, replays: replay.New(s), logger: logger,
		jobs:      replay.Jobs{Specs: r.specs(), Route: r.Route},
		positions: map[int64]replay.Position{},
	}
}

const (
	// leftToOthers is how long an order waits whose rest somebody else holds or knows.
	leftToOthers = time.Second

	// pacedSlice is the slice of an order that mostly waits.
	pacedSlice = 2 * time.Second
)

// Timeout implements river.Worker.
func (*replayer) Timeout(*river.Job[replayArgs]) time.Duration { return internalTimeout }

// NextRetry implements river.Worker: an order waits for the database only.
func (*replayer) NextRetry(*river.Job[replayArgs]) time.Time { return time.Now().Add(5 * time.Second) }

// Work implements river.Worker. It does one slice of the order's work and comes
// again until the order is over.
func (w *replayer) Work(ctx context.Context, job *river.Job[replayArgs]) error {
	order, err := w.replays.Start(ctx, job.Args.OrderID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return river.JobCancel(err)
	case err != nil:
		return w.givenUp(ctx, job, err)
	case order.Finished():
		w.forget(order.ID)
		return nil
	case order.State == "cancelled":
		err = w.withdraw(ctx, order)
	case order.EnqueuedAt != nil:
		err = w.await(ctx, order)
	default:
		err = w.carryOut(ctx, order)
	}
	var snooze *river.JobSnoozeError
	if err == nil || errors.As(err, &snooze) {
		return err
	}
	return w.givenUp(ctx, job, err)
}

// carryOut enqueues unless the order cannot be carried out. Of job types that this
// program does not know others may know more: while a deployment is under way, it
// leaves the order to them.
func (w *replayer) carryOut(ctx context.Context, order replay.Order) error {
	if err := order.Validate(); err != nil {
		return w.end(ctx, order.ID, "refused", err.Error())
	}
	atWork, err := catalog.KindsAtWork(ctx, w.store.Pool())
	if err != nil {
		return err
	}
	jobs := w.jobs
	jobs.Elsewhere = slices.DeleteFunc(atWork, w.knows)
	unknown := slices.DeleteFunc(slices.Clone(order.Filter.Kinds), w.knows)
	for _, kind := range unknown {
		if !slices.Contains(jobs.Elsewhere, kind) {
			return w.end(ctx, order.ID, "refused", "no program at work knows the job types "+strings.Join(unknown, ", "))
		}
	}
	if len(unknown) > 0 {
		return river.JobSnooze(leftToOthers)
	}
	return w.enqueue(ctx, order, jobs)
}

func (w *replayer) knows(kind string) bool {
	_, known := w.jobs.Specs[kind]
	return known
}

// enqueue puts runs to pending for as long as a slice lasts, no faster than the
// order allows.
func (w *replayer) enqueue(ctx context.Context, order replay.Order, jobs replay.Jobs) error {
	start, slice := time.Now(), internalSlice
	limit, enqueued := 0, 0
	if order.Rate > 0 {
		limit, slice = max(order.Rate/2, 1), pacedSlice
	}
	for time.Since(start) < slice {
		page, err := w.replays.TakePage(ctx, order, jobs, w.position(order.ID), limit)
		if err != nil {
			return err
		}
		w.advance(order.ID, page.Next)
		switch {
		case page.Exhausted:
			return w.await(ctx, order)
		case page.Wait:
			return river.JobSnooze(leftToOthers)
		}
		if enqueued += page.Enqueued; order.Rate > 0 {
			due := start.Add(time.Duration(float64(enqueued) / float64(order.Rate) * float64(time.Second)))
			if err := wait(ctx, time.Until(due)); err != nil {
				return err
			}
		}
	}
	return river.JobSnooze(0)
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// await ends the order once every run of it is settled. It looks often for a
// moment, for most orders are small, and then comes again: soon at first, and less
// often the longer the runs take.
func (w *replayer) await(ctx context.Context, order replay.Order) error {
	for start := time.Now(); time.Since(start) < 2*time.Second; {
		finished, err := w.replays.Finish(ctx, order.ID)
		if err != nil {
			return err
		}
		if finished {
			w.forget(order.ID)
			w.logger.Info("replay over", "replay_id", order.ID)
			return nil
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	if order.EnqueuedAt == nil { // a moment ago
		return river.JobSnooze(time.Second)
	}
	// The time is the database's: its clock may be ahead of this machine's.
	return river.JobSnooze(min(max(time.Since(*order.EnqueuedAt)/10, 0), 15*time.Second))
}

// withdraw takes back the runs of a cancelled order whose job has not begun.
func (w *replayer) withdraw(ctx context.Context, order replay.Order) error {
	w.forget(order.ID)
	for after, start := int64(0), time.Now(); time.Since(start) < internalSlice; {
		next, err := w.replays.WithdrawPage(ctx, order, after)
		if err != nil {
			return err
		}
		if next == 0 {
			w.logger.Info("replay cancelled", "replay_id", order.ID)
			return nil
		}
		after = next
	}
	return river.JobSnooze(0)
}

func (w *replayer) position(id int64) replay.Position {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.positions[id]
}

func (w *replayer) advance(id int64, to replay.Position) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.positions[id] = to
}

func (w *replayer) forget(id int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.positions, id)
}

func (w *replayer) end(ctx context.Context, id int64, state, why string) error {
	why = redact.Text(why)
	w.forget(id)
	w.logger.Warn("replay "+state, "replay_id", id, "reason", why)
	return w.replays.End(ctx, id, state, why)
}

// givenUp ends the order with its last attempt, so that none waits for a job that
// is gone.
func (w *replayer) givenUp(ctx context.Context, job *river.Job[replayArgs], cause error) error {
	if job.Attempt < job.MaxAttempts || stopping(ctx) {
		return cause
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	return errors.Join(cause, w.end(ctx, job.Args.OrderID, "failed", "given up: "+cause.Error()))
}
