package worker

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// heldJobs are the jobs that this program has fetched, until River has stored how
// they ended. A running job of this program that is not among them was fetched,
// but the answer was lost.
type heldJobs struct {
	mu      sync.Mutex
	answers uint64              // number of the last answer to a fetch
	ids     map[int64]uint64    // the answer that each job came with
	fetches map[*time.Time]bool // fetches that wait for their answer, by their start
}

func newHeldJobs() *heldJobs {
	return &heldJobs{ids: map[int64]uint64{}, fetches: map[*time.Time]bool{}}
}

// fetching notes that a fetch begins. fetched must be called with its answer.
func (h *heldJobs) fetching() (fetched func([]*rivertype.JobRow)) {
	began := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fetches[&began] = true
	return func(jobs []*rivertype.JobRow) {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.fetches, &began)
		h.answers++
		for _, job := range jobs {
			h.ids[job.ID] = h.answers
		}
	}
}

// ending notes that the result of jobs is about to be stored. ended must be called
// when it is. Another fetch may have got a job in the meantime, and then the job
// is still held.
func (h *heldJobs) ending(ids []int64) (ended func()) {
	answers := make([]uint64, len(ids))
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, id := range ids {
		answers[i] = h.ids[id]
	}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		for i, id := range ids {
			if h.ids[id] == answers[i] {
				delete(h.ids, id)
			}
		}
	}
}

// list returns the ids of the jobs. complete is false if a fetch that began
// before a time still waits for its answer.
func (h *heldJobs) list(before time.Time) (ids []int64, complete bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	complete = true
	for began := range h.fetches {
		complete = complete && !began.Before(before)
	}
	return slices.Collect(maps.Keys(h.ids)), complete
}

// ownedExecutor keeps the jobs of this program up to date, and names their owner
// when they are fetched.
type ownedExecutor struct {
	*clockExecutor
	owner *owner
}

// JobGetAvailable implements riverdriver.Executor.
func (e *ownedExecutor) JobGetAvailable(ctx context.Context, params *riverdriver.JobGetAvailableParams) (*riverdriver.JobGetAvailableResult, error) {
	named := *params
	named.ClientID = e.owner.nameFor(params.ClientID)
	fetched := e.owner.jobs.fetching()
	result, err := e.clockExecutor.JobGetAvailable(ctx, &named)
	if err != nil {
		fetched(nil)
		return nil, err
	}
	fetched(result.Jobs)
	return result, nil
}

// JobSetStateIfRunningMany implements riverdriver.Executor. River calls it for
// each job that has ended, outside of transactions.
func (e *ownedExecutor) JobSetStateIfRunningMany(ctx context.Context, params *riverdriver.JobSetStateIfRunningManyParams) ([]*rivertype.JobRow, error) {
	ended := e.owner.jobs.ending(params.ID)
	rows, err := e.clockExecutor.JobSetStateIfRunningMany(ctx, params)
	if err == nil {
		ended()
	}
	return rows, err
}
