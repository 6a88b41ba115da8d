package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// Periodic is work that is done periodically and belongs to no event. One of
// the programs on the database does it at a time, if Work respects its context.
// After a failure, the next call is at the next regular time. After a crash,
// the next call comes only after Timeout: split long work into slices, with
// [river.JobSnooze] between them.
type Periodic struct {
	Kind    string        // same rules as for a job type; no job type may have it
	Every   time.Duration // at least a second; the work is also done when River elects a program
	Timeout time.Duration // bounds one call of Work
	Work    func(ctx context.Context) error
}

// AddPeriodic registers periodic work. Register it in every program that may do
// it: the program that River has elected puts it into the queue. [Registry.Err]
// reports what is invalid.
func (r *Registry) AddPeriodic(p Periodic) {
	problem := r.kindProblem(p.Kind)
	switch {
	case problem != "":
	case p.Every < time.Second:
		problem = fmt.Sprintf("Every is %s: give at least a second", p.Every)
	case p.Timeout <= 0:
		problem = fmt.Sprintf("Timeout is %s: give a positive duration", p.Timeout)
	case p.Work == nil:
		problem = "Work is nil: give a function"
	}
	if problem != "" {
		r.errs = append(r.errs, fmt.Errorf("periodic job %q: %s", p.Kind, problem))
		return
	}
	r.periodic[p.Kind] = p
}

// periodicArgs are the arguments of all periodic jobs, whatever their kind.
type periodicArgs struct {
	kind string
}

// Kind implements river.JobArgs.
func (a periodicArgs) Kind() string { return a.kind }

// periodicWorker does the work of a Periodic for River.
type periodicWorker struct {
	river.WorkerDefaults[periodicArgs]
	periodic Periodic
}

// Timeout implements river.Worker.
func (w *periodicWorker) Timeout(*river.Job[periodicArgs]) time.Duration { return w.periodic.Timeout }

// Work implements river.Worker.
func (w *periodicWorker) Work(ctx context.Context, _ *river.Job[periodicArgs]) error {
	runningJobOf(ctx).setTimeout(ctx, w.periodic.Timeout)
	return isolate(func() error { return w.periodic.Work(ctx) })
}

// uniqueByKind keeps a job out of the queue while another of its kind is
// unfinished.
func uniqueByKind() river.UniqueOpts {
	return river.UniqueOpts{ByState: []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
		rivertype.JobStateRunning, rivertype.JobStateScheduled,
	}}
}
