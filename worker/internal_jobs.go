package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"lumin-ingest/internal/redact"
	"lumin-ingest/store"
)

// internalQueue holds the jobs that keep the house, so that they need not wait
// behind job types. The trigger on lumin.replays names it as well.
const internalQueue = "lumin"

// internalTimeout bounds an attempt of such a job, and internalSlice what it
// does in one go before it lets others in: after a crash River takes a job up
// again once it is older than its timeout.
const (
	internalTimeout = 30 * time.Second
	internalSlice   = 10 * time.Second
)

// replayArgs are the arguments of the job that carries out a replay order. The
// trigger on lumin.replays writes them.
type replayArgs struct {
	OrderID int64 `json:"order_id"`
}

// Kind implements river.JobArgs.
func (replayArgs) Kind() string { return internalPrefix + "replay" }

// replayer carries out replay orders.
type replayer struct {
	river.WorkerDefaults[replayArgs]
	store  *store.Store
	specs  map[string]store.JobSpec
	logger *slog.Logger
}

// Timeout implements river.Worker.
func (*replayer) Timeout(*river.Job[replayArgs]) time.Duration { return internalTimeout }

// NextRetry implements river.Worker: an order waits for the database only.
func (*replayer) NextRetry(*river.Job[replayArgs]) time.Time { return time.Now().Add(5 * time.Second) }

// Work implements river.Worker.
func (w *replayer) Work(ctx context.Context, job *river.Job[replayArgs]) error {
	order, err := w.store.StartReplay(ctx, job.Args.OrderID)
	var unreadable pgx.ScanArgError
	switch {
	case errors.Is(err, store.ErrNotFound):
		return river.JobCancel(err)
	case errors.As(err, &unreadable): // such as a NULL among the job kinds
		return w.refuse(ctx, job.Args.OrderID, "a filter of the order cannot be read: "+unreadable.Error())
	case err != nil:
		return w.givenUp(ctx, job, err)
	case order.State != "running":
		return nil
	}
	if why := w.refusal(order.Filter); why != "" {
		return w.refuse(ctx, order.ID, why)
	}
	for end := time.Now().Add(internalSlice); time.Now().Before(end); {
		n, err := w.store.ReplayPage(ctx, order, w.specs)
		if err != nil {
			return w.givenUp(ctx, job, err)
		}
		if n == 0 {
			w.logger.Info("replay done", "replay_id", order.ID)
			return nil
		}
	}
	return river.JobSnooze(0)
}

func (w *replayer) refuse(ctx context.Context, id int64, why string) error {
	why = redact.Text(why)
	w.logger.Warn("replay refused", "replay_id", id, "reason", why)
	return w.store.RefuseReplay(ctx, id, why)
}

// givenUp ends the order with its last attempt, so that none waits for a job that
// is gone.
func (w *replayer) givenUp(ctx context.Context, job *river.Job[replayArgs], cause error) error {
	if job.Attempt < job.MaxAttempts || stopping(ctx) {
		return cause
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	return errors.Join(cause, w.refuse(ctx, job.Args.OrderID, "given up: "+cause.Error()))
}

// refusal tells why an order cannot be carried out; empty if it can. Orders may
// be placed by hand in SQL, so nothing has been looked at before.
func (w *replayer) refusal(f store.ReplayFilter) string {
	if err := f.Validate(); err != nil {
		return err.Error()
	}
	unknown := slices.DeleteFunc(slices.Clone(f.Kinds), func(kind string) bool {
		_, known := w.specs[kind]
		return known
	})
	if len(unknown) > 0 {
		return fmt.Sprintf("the program that carries out replays does not know the job types %s", strings.Join(unknown, ", "))
	}
	return ""
}

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
	return err
}

// periodicJobs are enqueued by whichever program River has elected to lead.
func periodicJobs() []*river.PeriodicJob {
	sweep := func() (river.JobArgs, *river.InsertOpts) {
		return sweepArgs{}, &river.InsertOpts{Queue: internalQueue, MaxAttempts: 1}
	}
	return []*river.PeriodicJob{
		river.NewPeriodicJob(river.PeriodicInterval(time.Minute), sweep, &river.PeriodicJobOpts{RunOnStart: true}),
	}
}
