package main

import (
	"context"
	"errors"
	"fmt"

	"lumin-ingest/internal/bench/load"
	"lumin-ingest/internal/bench/report"
)

// operatorsID is the scenario of the tasks, which run with P9.
const operatorsID = "operators"

// Rows of P9 that take turns.
const (
	emptyRow  = "empty"
	filledRow = "filled"
	drainRow  = ", backlog"
)

// growth compares an empty database with a filled one, and then does operators'
// tasks on the filled one.
func growth(ctx context.Context, b *bench, s *report.Scenario) (err error) {
	server, err := newServer(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	// Retention would remove the past events.
	c := b.ours(variant{emptyRow, []string{"RETAIN_PAYLOADS=0", "RETAIN_EVENTS=0"}})
	if err := b.prepare(ctx, server, c); err != nil {
		return err
	}
	const filled = "filled"
	if err := execute(server.URL(), `CREATE DATABASE `+filled+` TEMPLATE `+c.schema); err != nil {
		return err
	}
	full, err := b.openStage(ctx, server, s, c, filled)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, full.close()) }()
	if err := full.fill(ctx, b.events); err != nil {
		return err
	}
	for range b.rounds {
		if err := b.take(ctx, server, s, c, 0, grown); err != nil {
			return fmt.Errorf("empty: %w", err)
		}
		full.label = filledRow
		if err := grown(ctx, full); err != nil {
			return fmt.Errorf("filled: %w", err)
		}
		if err := full.settle(ctx); err != nil {
			return err
		}
	}
	tasks := &report.Scenario{ID: operatorsID, Title: "P9: operators' tasks on the filled database", Note: fmt.Sprintf(
		"The database has %d events, each with a failed run. Replays and retention ran once, for a minute at most; the other tasks ran up to a hundred times.", b.events)}
	b.result.Scenarios = append(b.result.Scenarios, tasks)
	return full.operate(ctx, tasks)
}

// grown measures the figures of P2, P3 and P7 in one turn.
func grown(ctx context.Context, s *stage) error {
	p, err := s.start(ctx, roleIngest)
	if err != nil {
		return err
	}
	if _, err := s.closedLoop(ctx, p, connections, s.seconds*warmUp); err != nil {
		return err
	}
	if err := s.measureLoad(ctx, p, load.Config{Connections: connections, Seconds: s.seconds}); err != nil {
		return err
	}
	s.programs = nil
	if err := p.stop(); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	if err := s.fillWorked(ctx, s.large); err != nil {
		return err
	}
	name := s.label
	defer func() { s.label = name }()
	s.label += drainRow
	if err := s.drain(ctx); err != nil {
		return err
	}
	for _, p := range s.programs {
		if err := p.stop(); err != nil {
			return err
		}
	}
	s.programs = nil
	return nil
}

// settle removes the jobs that a turn has left, so that the next turn does not
// work them.
func (s *stage) settle(ctx context.Context) error {
	for _, sql := range []string{
		`TRUNCATE lumin.river_job`,
		`UPDATE lumin.runs SET state = 'succeeded', finished_at = now() WHERE state = 'pending'`,
		`VACUUM ANALYZE lumin.runs`,
		`CHECKPOINT`,
	} {
		if _, err := s.pool.Exec(ctx, sql); err != nil {
			return fmt.Errorf("settle: %w", err)
		}
	}
	return nil
}
