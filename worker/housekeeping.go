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

// The queues of the internal jobs: replays, erasures, retention and the sweep.
// They do not wait behind job types, and the periodic ones do not wait behind
// replay orders. The trigger on lumin.replays also contains the first name, and
// package operate refuses to pause either.
const (
	replayQueue   = "lumin"
	periodicQueue = "lumin_periodic"
)

const (
	// internalTimeout bounds one attempt of an internal job.
	internalTimeout = 30 * time.Second

	// internalSlice is how long an internal job works before it makes room for
	// others.
	internalSlice = 10 * time.Second
)

// housekeeper works on one kind of internal jobs for River, step by step.
// Errors end the attempt: [attemptMiddleware] logs them.
type housekeeper[T river.JobArgs] struct {
	river.WorkerDefaults[T]
	timeout time.Duration // of a step
	step    step[T]
}

// step does a part of a job and returns the pause before the next part, or
// done.
type step[T river.JobArgs] func(ctx context.Context, job *river.Job[T]) (pause, error)

// pause is the time between two steps of a job. Any program on the database may
// do the next step.
type pause time.Duration

// done is returned by the last step of a job.
const done pause = -1

// Timeout implements river.Worker.
func (h *housekeeper[T]) Timeout(*river.Job[T]) time.Duration { return h.timeout }

// NextRetry implements river.Worker. An internal job waits only for the
// database.
func (*housekeeper[T]) NextRetry(*river.Job[T]) time.Time { return time.Now().Add(5 * time.Second) }

// Work implements river.Worker.
func (h *housekeeper[T]) Work(ctx context.Context, job *river.Job[T]) error {
	next, err := h.step(ctx, job)
	if err != nil || next == done {
		return err
	}
	return river.JobSnooze(time.Duration(next))
}

// periodicHousekeeper is a housekeeper whose jobs River enqueues periodically.
type periodicHousekeeper struct {
	kind   string
	every  time.Duration
	worker *housekeeper[periodicArgs]
}

// The internal periodic jobs: values of a label of
// lumin_housekeeping_last_success_timestamp_seconds.
const (
	taskSweep  = "sweep"
	taskErase  = "erase"
	taskRetain = "retain"
)

// sweepEvery bounds how long a parked run waits if the database was away when it was
// to be woken.
const sweepEvery = 30 * time.Second

// periodicHousekeepers lists the internal periodic jobs. maxPeriodic is their
// number.
func periodicHousekeepers(s *store.Store, policy retention.Policy, removed func(retention.Removed), logger *slog.Logger) []periodicHousekeeper {
	return []periodicHousekeeper{
		{kind: InternalPrefix + taskSweep, every: sweepEvery, worker: newSweeper(s, logger)},
		{kind: InternalPrefix + taskErase, every: time.Minute, worker: newEraser(s, logger)},
		{kind: InternalPrefix + taskRetain, every: 10 * time.Minute, worker: newRetainer(s, policy, internalSlice, removed, logger)},
	}
}

// leftToAnother is the key in the metadata of a job that did nothing. River marks the
// job as completed, and package store/alerts does not take it for a success.
const leftToAnother = "left_to_another"

// oneAtATime turns a job away while another job does the same step in this program:
// the other job does the work.
func oneAtATime(s step[periodicArgs]) step[periodicArgs] {
	var busy sync.Mutex
	return func(ctx context.Context, job *river.Job[periodicArgs]) (pause, error) {
		if !busy.TryLock() {
			_ = river.MetadataSet(ctx, leftToAnother, true) // it fails only outside of River
			return done, errTurnedAway
		}
		defer busy.Unlock()
		return s(ctx, job)
	}
}

// periodicJobs lists the jobs that the program elected by River enqueues.
func periodicJobs(own []periodicHousekeeper, registered map[string]Periodic) []*river.PeriodicJob {
	var jobs []*river.PeriodicJob
	add := func(every time.Duration, kind string, unique river.UniqueOpts) {
		jobs = append(jobs, river.NewPeriodicJob(river.PeriodicInterval(every), func() (river.JobArgs, *river.InsertOpts) {
			return periodicArgs{kind}, &river.InsertOpts{Queue: periodicQueue, MaxAttempts: 1, UniqueOpts: unique}
		}, &river.PeriodicJobOpts{RunOnStart: true}))
	}
	for _, h := range own {
		add(h.every, h.kind, river.UniqueOpts{})
	}
	for kind, p := range registered {
		add(p.Every, kind, uniqueByKind())
	}
	return jobs
}
