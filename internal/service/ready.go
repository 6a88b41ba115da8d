package service

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"lumin-ingest/admin"
	"lumin-ingest/internal/errtext"
)

// checks returns the checks of /readyz.
func (s *Service) checks() []admin.Check {
	checks := []admin.Check{
		{Name: "program", Probe: func(context.Context) error {
			if s.stopping.Load() {
				return errors.New("stopping")
			}
			return nil
		}},
		{Name: "database", Probe: s.readiness.Ready},
	}
	if s.runtime != nil {
		checks = append(checks, admin.Check{Name: "workers", Probe: s.workersReady})
	}
	return checks
}

// workersReady returns the reason why no jobs run. After the start, only a service
// that does not receive is unready for such a reason. One that receives still
// records deliveries, so /readyz shows a warning instead.
func (s *Service) workersReady(ctx context.Context) error {
	err := s.runtime.Ready(ctx)
	if reason, _ := s.waitingFor.Load().(string); reason != "" && err != nil {
		return fmt.Errorf("%w: %s", err, reason)
	}
	if err != nil {
		return err
	}
	err = s.workReadiness.Ready(ctx)
	if s.cfg.Ingest {
		return nil // warnings has the error
	}
	if stuck := s.stuckQueues(); len(stuck) > 0 {
		return errors.New(strings.Join(stuck, "; "))
	}
	return err
}

// describe returns the text of a failed test on the pool work, and "" for nil.
// Busy replays can take all its connections. Transactional job types have a pool
// of their own, so their runs may be settled all the same.
func describe(err error) string {
	if err == nil {
		return ""
	}
	return "a test on the connections of the pool work failed, which replays and plain job types use: " + errtext.Plain(err.Error())
}

// warnings returns what /readyz and the dashboard show although the service is
// ready. It does not wait: a page may find a problem only when it is loaded again.
func (s *Service) warnings() []string {
	warnings := s.stuckQueues()
	if s.cfg.Ingest && s.runtime != nil && s.runtime.Ready(context.Background()) == nil {
		if problem := describe(s.workReadiness.Latest()); problem != "" {
			warnings = append(warnings, problem)
		}
	}
	if s.certificate != nil {
		if warning := s.certificate.warning(time.Now()); warning != "" {
			warnings = append(warnings, warning)
		}
	}
	return warnings
}

// stuckQueues describes the queues in which each worker of this program is held
// by a job that ignores its timeout.
func (s *Service) stuckQueues() (queues []string) {
	if s.runtime != nil {
		for _, load := range s.runtime.Stuck() {
			queues = append(queues, load.String())
		}
	}
	return queues
}

// sourceLines returns the sources for /metrics and /readyz.
func (s *Service) sourceLines() []admin.SourceLine {
	if s.handler == nil {
		return nil
	}
	var lines []admin.SourceLine
	for _, status := range s.handler.Sources() {
		lines = append(lines, admin.SourceLine(status))
	}
	return lines
}

// Working reports whether the workers have started.
func (s *Service) Working(ctx context.Context) bool {
	return s.runtime != nil && s.runtime.Ready(ctx) == nil
}
