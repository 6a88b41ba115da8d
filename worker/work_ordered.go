package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/tracing"
	"lumin-ingest/store"
)

// workOrdered works the event of a job, unless an earlier event of its lane is
// unfinished. Then it works the events that waited for it: see
// [store.Store.Head]. It returns the result of the event of the job only.
func (x *executor) workOrdered(ctx context.Context, attempt store.Attempt) error {
	began := time.Now()
	_, err := x.workInLane(ctx, attempt)
	if x.workLane(ctx, attempt.JobArgs, errors.Is(err, errParked), began) {
		return nil // its turn came at once
	}
	return err
}

// workInLane works one event of a lane in a transaction of its own. An attempt
// without a job works a parked event. The event is nil if it was not claimed.
func (x *executor) workInLane(ctx context.Context, attempt store.Attempt) (*Event, error) {
	ctx, cancel := context.WithTimeout(ctx, x.jobType.timeout)
	defer cancel()
	if running := runningJobOf(ctx); attempt.JobID != 0 {
		running.setTimeout(ctx, x.jobType.timeout)
	} else {
		running.setDeadline(ctx)
	}
	claim, err := x.claimOrdered(ctx, attempt)
	if err != nil {
		return nil, err
	}
	if attempt.JobArgs == runningJobOf(ctx).run() { // it has the span of the job
		return claim.event, x.workClaimed(ctx, claim, attempt, func() {})
	}
	ctx, span := x.startParked(ctx, attempt)
	err = x.workClaimed(ctx, claim, attempt, func() {})
	tracing.End(span, parkedOutcome(err), err != nil)
	return claim.event, err
}

// parkedOutcome is the outcome of an event that was worked by the job of another. If
// that failed, the event gets a job of its own.
func parkedOutcome(err error) string {
	if err != nil {
		return string(outcomeParked)
	}
	return string(outcomeSucceeded)
}

// claimOrdered is claim for an ordered job type. It commits the state of a run
// that is parked or cancelled.
func (x *executor) claimOrdered(ctx context.Context, attempt store.Attempt) (*claim, error) {
	var event *store.Event
	c, err := x.begin(ctx, func(conn *pgx.Conn) (tx pgx.Tx, err error) {
		tx, event, err = x.store.BeginOrderedClaim(ctx, conn, attempt)
		if errors.Is(err, store.ErrLaneBusy) || errors.Is(err, store.ErrNotHead) || errors.Is(err, store.ErrLaneFailed) {
			if commitErr := tx.Commit(ctx); commitErr != nil {
				return tx, fmt.Errorf("commit the state of a waiting run: %w", commitErr)
			}
		}
		return tx, err
	})
	switch {
	case err == nil:
		c.event = (*Event)(event)
		return c, nil
	case attempt.JobID == 0:
		return nil, err
	}
	return nil, claimError(err)
}

// workLane works the parked events at the head of the lane of a run, one after
// another. It reports whether that run was one of them and was parked by its job.
// After the timeout of the job type, or if the program stops, it leaves the rest to
// a job.
func (x *executor) workLane(ctx context.Context, run store.JobArgs, parked bool, began time.Time) (worked bool) {
	for {
		head, err := x.head(ctx, run)
		if err != nil {
			x.logLane("cannot read the next event of a signature request: the sweep will find it", err)
			return worked
		}
		if head == nil || !head.Parked {
			return worked
		}
		if ctx.Err() != nil || x.stopping.Load() || time.Since(began) > x.jobType.timeout {
			x.wake(ctx, head)
			return worked
		}
		next := time.Now()
		event, err := x.workInLane(ctx, store.Attempt{JobArgs: head.JobArgs, Number: head.Attempts + 1})
		switch {
		case err == nil && parked && head.JobArgs == run: // counted when the job ends
			runningJobOf(ctx).event = event
			worked, parked = true, false
		case err == nil:
			x.tally.count(run.JobKind, outcomeSucceeded, next, head.JobArgs, event)
		case errors.Is(err, store.ErrNotHead), errors.Is(err, store.ErrLaneFailed), errors.Is(err, store.ErrRunSettled):
			// The lane has changed.
		case errors.Is(err, store.ErrLaneBusy):
			return worked // the session that has the lock reads the head afterwards
		default:
			if !errors.Is(err, store.ErrRunLocked) {
				x.logLane("an event that waited failed in the job of another event: it gets a job of its own", err)
			}
			if x.wake(ctx, head) {
				return worked
			}
			// The event was worked nevertheless, such as by code that commits.
		}
	}
}

// head reads the head of the lane of a run, even after the timeout.
func (x *executor) head(ctx context.Context, run store.JobArgs) (*store.Head, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeoutGrace)
	defer cancel()
	return x.store.Head(ctx, run)
}

// wake gives a parked run a job, even after the timeout. It returns false if the
// run is not parked.
func (x *executor) wake(ctx context.Context, head *store.Head) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeoutGrace)
	defer cancel()
	parked, err := x.store.Wake(ctx, head.JobArgs)
	if err != nil {
		x.logLane("cannot wake the next event of a signature request: the sweep will do it", err)
		return true
	}
	return parked
}

func (x *executor) logLane(message string, err error) {
	x.logger.Info(message, "kind", x.jobType.spec.Kind, "error", clean(err).Error())
}
