package main

import (
	"context"
	"time"

	"lumin-ingest/internal/bench/load"
	"lumin-ingest/internal/bench/report"
)

// recordScenarios measure deliveries alone: the programs receive, and no one
// works the events.
func recordScenarios() []scenario {
	return []scenario{
		{
			id: "p1", title: "P1: one caller in the process", quick: true,
			note: "One goroutine of the program records its next delivery as soon as the last one is committed, without HTTP.",
			run: func(ctx context.Context, b *bench, s *report.Scenario) error {
				return b.round(ctx, s, b.recorders(), func(ctx context.Context, st *stage) error { return st.call(ctx, 1) })
			},
		},
		{
			id: "p2", title: "P2: 64 callers in the process", quick: true,
			note: "64 goroutines of the program record their next deliveries as soon as their last ones are committed, without HTTP.",
			run: func(ctx context.Context, b *bench, s *report.Scenario) error {
				return b.round(ctx, s, b.recorders(), func(ctx context.Context, st *stage) error { return st.call(ctx, connections) })
			},
		},
		{
			id: "p1-http", title: "P1-HTTP: one connection",
			note: "One connection sends its next delivery as soon as the last one is answered. The programs only receive.",
			run: func(ctx context.Context, b *bench, s *report.Scenario) error {
				return b.round(ctx, s, b.all(b.settings()...), func(ctx context.Context, st *stage) error { return st.record(ctx, 1) })
			},
		},
		{
			id: "p3", title: "P3: 64 connections", quick: true,
			note: "64 connections send their next deliveries as soon as their last ones are answered. The programs only receive. " +
				"`pgbench` inserts the same two rows per transaction with 64 clients, without HTTP; its program is pgbench itself.",
			run: func(ctx context.Context, b *bench, s *report.Scenario) error {
				contestants := b.all(b.settings()...)
				if !b.quick {
					contestants = append(contestants, b.pgbench(), b.expressApp())
				}
				return b.round(ctx, s, contestants, func(ctx context.Context, st *stage) error { return st.record(ctx, connections) })
			},
		},
	}
}

// all returns ours, the older program if there is one, and the textbook.
func (b *bench) all(ours ...*contestant) []*contestant {
	return append(append(ours, b.old()...), b.textbook(effectState))
}

// warmUp is the share of a load's time that goes before it, unmeasured.
const warmUp = 0.15

// record measures deliveries to a program that only receives.
func (s *stage) record(ctx context.Context, conns int) error {
	p, err := s.start(ctx, roleIngest)
	if err != nil {
		return err
	}
	if _, err := s.closedLoop(ctx, p, conns, s.seconds*warmUp); err != nil {
		return err
	}
	if err := s.measureLoad(ctx, p, load.Config{Connections: conns, Seconds: s.seconds}); err != nil {
		return err
	}
	return s.verify(ctx, false)
}

// call measures callers in the process of a program that only receives.
func (s *stage) call(ctx context.Context, callers int) error {
	p, err := s.start(ctx, roleIngest)
	if err != nil {
		return err
	}
	if _, err := s.callers(ctx, p, load.Config{Connections: callers, Seconds: s.seconds * warmUp}); err != nil {
		return err
	}
	from, err := s.usage(ctx, p)
	if err != nil {
		return err
	}
	r, err := s.callers(ctx, p, load.Config{Connections: callers, Seconds: s.seconds})
	if err != nil {
		return err
	}
	to, err := s.usage(ctx, p)
	if err != nil {
		return err
	}
	s.addReport(from, to, r)
	return s.verify(ctx, false)
}

// measureLoad measures a program during a load.
func (s *stage) measureLoad(ctx context.Context, p *process, cfg load.Config) error {
	from, err := s.usage(ctx, p)
	if err != nil {
		return err
	}
	l, err := s.beginLoad(ctx, p, cfg)
	if err != nil {
		return err
	}
	r, err := l.wait()
	if err != nil {
		return err
	}
	to, err := s.usage(ctx, p)
	if err != nil {
		return err
	}
	s.addReport(from, to, r)
	s.addLoad(l, r)
	return nil
}

// addReport adds the figures of a load and of what it used.
func (s *stage) addReport(from, to usage, r load.Report) {
	s.add(report.MetricRate, "deliveries/s", float64(r.Sent)/r.Seconds)
	s.addLatencies(r)
	s.addUsage(from, to, r.Sent)
}

func (s *stage) addLatencies(r load.Report) {
	s.add(report.MetricP50, "ms", r.P50)
	s.add(report.MetricP99, "ms", r.P99)
}

// addLoad adds the CPU time of the load itself, to show that it was not the
// bottleneck.
func (s *stage) addLoad(l *loading, r load.Report) {
	s.add(report.MetricLoad, "µs", float64(l.cpu())/float64(time.Microsecond)/float64(r.Sent))
}
