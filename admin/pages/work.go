package pages

import (
	"context"

	"lumin-ingest/store/catalog"
	"lumin-ingest/store/workload"
)

// work is what waits, runs and has failed now.
type work struct {
	JobTypes []workload.JobType
	Queues   []workload.Queue
	Programs []catalog.Program
}

// failed counts failed runs.
func (w work) failed() (n int64) {
	for _, t := range w.JobTypes {
		n += t.Failed
	}
	return n
}

// Working are the programs that work jobs.
func (w work) Working() (some []catalog.Program) {
	for _, program := range w.Programs {
		if program.Works() {
			some = append(some, program)
		}
	}
	return some
}

func (w work) retrying() (n int64) {
	for _, t := range w.JobTypes {
		n += t.Retrying
	}
	return n
}

// readWork reads the snapshot of all work.
func (p *Pages) readWork(ctx context.Context) (w work, err error) {
	pool := p.cfg.Store.Pool()
	if w.JobTypes, err = workload.JobTypes(ctx, pool); err != nil {
		return w, err
	}
	if w.Queues, err = workload.Queues(ctx, pool); err != nil {
		return w, err
	}
	w.Programs, err = catalog.Programs(ctx, pool, catalog.SeenWithin)
	return w, err
}
