package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// stuckQueues describes the queues in which a job that ignores its timeout holds
// each worker of this program.
func (s *service) stuckQueues() (queues []string) {
	if s.runtime != nil {
		for _, load := range s.runtime.Stuck() {
			queues = append(queues, load.String())
		}
	}
	return queues
}

// workersReady returns the reason why no jobs are worked. Stuck workers make only a
// program that does not receive unready. One that receives still records
// deliveries, so /readyz shows a warning instead.
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

// stopJobs waits for the running jobs. The stop succeeds even if some do not end:
// their runs stay pending, and River gives their jobs to another program, or to
// this one after its next start.
func (s *service) stopJobs() error {
	ctx, cancel := context.WithTimeout(context.Background(), jobsTimeout)
	defer cancel()
	err := s.runtime.Stop(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	kinds := s.runtime.Unfinished()
	s.cfg.logger.Warn("some jobs ignore the end of their context and were abandoned: their runs stay pending, and the jobs are tried again",
		"kinds", slices.Sorted(maps.Keys(kinds)), "jobs", sum(kinds))
	return nil
}

func sum(counts map[string]int) (n int) {
	for _, count := range counts {
		n += count
	}
	return n
}
