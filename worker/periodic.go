package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// Periodic is something to be done again and again that belongs to no event. One
// of the programs on the database does it, and never two at once, as long as Work heeds
// its context. It is not tried again when it fails: the next time comes. After a crash
// it is not done before Timeout is over, so what takes long should be done in slices,
// with [river.JobSnooze] between them.
type Periodic struct {
	Kind    string        // as for job types; one name space with theirs
	Every   time.Duration // at least a second; also done when a program begins to lead
	Timeout time.Duration // bounds it
	Work    func(ctx context.Context) error
}

// AddPeriodic registers something to be done periodically. Programs that are to do
// it all have to register it: the one that River has elected puts it into the queue.
// What is wrong with it is told by [Registry.Err].
func (r *Registry) AddPeriodic(p Periodic) {
	why := r.refuseKind(p.Kind)
	switch {
	case why != "":
	case p.Every < time.Second:
		why = fmt.Sprintf("Every is %s: give at least a second", p.Every)
	case p.Timeout <= 0:
		why = fmt.Sprintf("Timeout is %s: give a positive duration", p.Timeout)
	case p.Work == nil:
		why = "Work is nil: give a function"
	}
	if why != "" {
		r.errs = append(r.errs, fmt.Errorf("periodic job %q: %s", p.Kind, why))
		return
	}
	r.periodic[p.Kind] = p
}

// periodicArgs serve all of them, as store.JobArgs serve all job types.
type periodicArgs struct {
	kind string
}

// Kind implements river.JobArgs.
func (a periodicArgs) Kind() string { return a.kind }

// periodicWorker does one of them for River.
type periodicWorker struct {
	river.WorkerDefaults[periodicArgs]
	periodic Periodic
}

// Timeout implements river.Worker.
func (w *periodicWorker) Timeout(*river.Job[periodicArgs]) time.Duration { return w.periodic.Timeout }

// Work implements river.Worker.
func (w *periodicWorker) Work(ctx context.Context, _ *river.Job[periodicArgs]) error {
	noteDeadline(ctx)
	return nameTimeout(ctx, w.periodic.Timeout, isolate(func() error { return w.periodic.Work(ctx) }))
}

// onlyOne keeps a job out of the queue while there is one of its kind.
func onlyOne() river.UniqueOpts {
	return river.UniqueOpts{ByState: []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
		rivertype.JobStateRunning, rivertype.JobStateScheduled,
	}}
}
