package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"lumin-ingest/internal/bench/report"
)

// exported is the number of events of the export in P10.
const exported = 1_000_000

// exportMemory measures the memory of a command that lists all events as JSON.
func (b *bench) exportMemory(ctx context.Context, s *report.Scenario) (err error) {
	server, err := newServer(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	c := b.plain()
	if err := b.prepare(ctx, server, c); err != nil {
		return err
	}
	st, err := b.openStage(ctx, server, s, c, c.schema)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	st.label = exportRow
	n := min(b.events, exported)
	if err := st.fill(ctx, n); err != nil {
		return err
	}
	for range b.rounds {
		if err := st.export(ctx, n); err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
	return nil
}

// export runs the command and samples its memory until it ends.
func (s *stage) export(ctx context.Context, n int) error {
	cmd := exec.CommandContext(ctx, s.current.program, "events", "list", "--output", "json")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "DATABASE_URL=" + s.url}
	start := time.Now()
	p, err := s.spawn(launch{cmd: cmd})
	if err != nil {
		return err
	}
	highest := int64(0)
	for running := true; running; {
		select {
		case <-p.ended:
			running = false
		case <-time.After(often):
			if _, h, err := memory(p.pid()); err == nil {
				highest = max(highest, h)
			}
		}
	}
	if p.err != nil {
		return fmt.Errorf("%w: %s", p.err, p.tail())
	}
	took := time.Since(start)
	lines, err := countLines(p.output)
	if err != nil {
		return err
	}
	if lines != n {
		return fmt.Errorf("%d lines for %d events", lines, n)
	}
	s.add(report.MetricMemory, "MiB", float64(highest)/mebibyte)
	s.add(report.MetricRate, "events/s", float64(n)/took.Seconds())
	return os.Remove(p.output)
}
