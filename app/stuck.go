package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// stuckQueues describes the queues that this program does not work at the moment,
// because a job that ignores its timeout holds each of their workers.
func (s *service) stuckQueues() (queues []string) {
	if s.runtime != nil {
		for _, load := range s.runtime.Stuck() {
			queues = append(queues, load.String())
		}
	}
	return queues
}

// workersReady returns why no jobs are worked. A program that also receives stays
// ready while its workers are stuck, because deliveries are still recorded:
// /readyz then has a warning. One that only works has nothing else to be ready for.
func (s *service) workersReady(ctx context.Context) error {
	err := s.runtime.Ready(ctx)
	if reason, _ := s.waitingFor.Load().(string); reason != "" && err != nil {
		return fmt.Errorf("%w: %s", err, reason)
	}
	if err != nil {
		return err
	}
	if stuck := s.stuckQueues(); len(stuck) > 0 && !s.cfg.ingest {
		return errors.New(strings.Join(stuck, "; "))
	}
	return s.workReadiness.Ready(ctx)
}

// stopJobs waits for the running jobs. That some do not end is no failure of the
// stop: their runs are pending, and River gives their jobs to another program, or
// to this one after its next start.
func (s *service) stopJobs() error {
	ctx, cancel := context.WithTimeout(context.Background(), jobsTimeout)
	defer cancel()
	err := s.runtime.Stop(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	kinds := s.runtime.Unfinished()
	s.cfg.logger.Warn("some jobs ignore the end of their context and are left behind: their runs are pending, and the jobs are tried again",
		"kinds", slices.Sorted(maps.Keys(kinds)), "jobs", sum(kinds))
	return nil
}

func sum(counts map[string]int) (n int) {
	for _, count := range counts {
		n += count
	}
	return n
}
