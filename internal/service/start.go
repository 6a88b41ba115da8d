package service

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/docker/go-units"

	"lumin-ingest/internal/advice"
	"lumin-ingest/internal/duration"
	"lumin-ingest/internal/errtext"
	"lumin-ingest/internal/machine"
	"lumin-ingest/internal/version"
	"lumin-ingest/store/catalog"
)

const (
	// schemaPoll is the pause between two attempts to start.
	schemaPoll = time.Second

	// lookTimeout limits each query of a start: a connection may have failed
	// silently.
	lookTimeout = 5 * time.Second
)

// start tries to start until it succeeds, ctx ends, or a listener fails. It
// logs each new reason for waiting once.
func (s *Service) start(ctx context.Context) error {
	logged := ""
	for {
		err := s.tryStart(ctx)
		if err == nil {
			s.waitingFor.Store("") // if the workers stop later, this reason no longer applies
			s.checkConnections(ctx)
			s.heartbeat, s.historian = s.startHeartbeat(), s.startHistorian(flushEvery)
			s.alerts = s.startAlerts()
			s.cfg.Logger.Info("started", s.summary()...)
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
		if refused := advice.RefusedOption(err); refused != nil {
			return refused
		}
		if errors.Is(err, catalog.ErrJobTypeChanged) {
			return advice.Add(err, "give the job type a new Kind; or wait until the old program has finished its jobs, stop it, and start again")
		}
		if reason := errtext.Plain(err.Error()); reason != logged {
			logged = reason
			s.waitingFor.Store(reason)
			s.cfg.Logger.Warn("waiting for the database", "reason", reason)
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.failed:
			return err
		case <-time.After(schemaPoll):
		}
	}
}

// tryStart starts the workers, or returns why that is not possible yet.
func (s *Service) tryStart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if err := cmp.Or(s.recording, s.working).ReadyToStart(ctx, s.runtime != nil); err != nil {
		return err
	}
	if err := s.recallLastDeliveries(ctx); err != nil {
		return err
	}
	if s.runtime != nil {
		return s.runtime.Start(ctx)
	}
	err := s.cfg.Registry.Register(ctx, s.store, s.cfg.Logger)
	if errors.Is(err, catalog.ErrJobTypeChanged) { // programs that run this job type refuse to start
		s.cfg.Logger.Warn("cannot record the job types in lumin.job_types", "reason", errtext.Plain(err.Error()))
		return nil
	}
	return err
}

// summary returns the attributes of the log line "started".
func (s *Service) summary() []any {
	memory := "none"
	if limit := machine.GoMemory(); limit > 0 {
		memory = units.BytesSize(float64(limit))
	}
	summary := []any{
		"version", version.String(), "role", s.cfg.role(), "job_types", s.cfg.Registry.Kinds(),
		"cpus", s.cfg.CPUs, "memory_limit", memory, "connections", s.cfg.connections(),
	}
	if !s.cfg.Work {
		return summary
	}
	return append(summary, "queues", s.cfg.worker().QueueWorkers(),
		"retain_payloads", duration.Format(s.cfg.Retention.Payloads), "retain_events", duration.Format(s.cfg.Retention.Events))
}
