package worker

import (
	"time"

	"github.com/riverqueue/river"
)

// The queues of the jobs that keep the house, so that they need not wait behind
// job types, nor the periodic ones behind replay orders. The trigger on
// lumin.replays names the first as well.
const (
	replayQueue   = "lumin"
	periodicQueue = "lumin_periodic"
)

// internalTimeout bounds an attempt of such a job, and internalSlice what it
// does in one go before it lets others in: after a crash River takes a job up
// again once it is older than its timeout.
const (
	internalTimeout = 30 * time.Second
	internalSlice   = 10 * time.Second
)

// periodicJobs are enqueued by whichever program River has elected to lead.
func periodicJobs(registered map[string]Periodic) []*river.PeriodicJob {
	every := func(interval time.Duration, args river.JobArgs, unique river.UniqueOpts) *river.PeriodicJob {
		return river.NewPeriodicJob(river.PeriodicInterval(interval), func() (river.JobArgs, *river.InsertOpts) {
			return args, &river.InsertOpts{Queue: periodicQueue, MaxAttempts: 1, UniqueOpts: unique}
		}, &river.PeriodicJobOpts{RunOnStart: true})
	}
	jobs := []*river.PeriodicJob{
		every(time.Minute, sweepArgs{}, river.UniqueOpts{}), every(time.Minute, eraseArgs{}, river.UniqueOpts{}),
		every(retainEvery, retainArgs{}, river.UniqueOpts{}),
	}
	for kind, p := range registered {
		jobs = append(jobs, every(p.Every, periodicArgs{kind}, onlyOne()))
	}
	return jobs
}
