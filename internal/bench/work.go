package main

import (
	"context"
	"time"

	"lumin-ingest/internal/bench/load"
	"lumin-ingest/internal/bench/report"
)

// How often the benchmark asks whether the work is done.
const (
	often  = 20 * time.Millisecond
	seldom = 250 * time.Millisecond // of statements that read more
)

// workScenarios measure how events are worked.
func workScenarios() []scenario {
	return []scenario{
		{
			id: "p4", title: "P4: a backlog of signature_request_state", quick: true,
			note: "A program with the role ingest records a backlog and ends. Then a program with the role worker works it. " +
				"Its start is not measured: the measurement begins with the first effect. The effect of `textbook` is one upsert of the same columns. " +
				"`256/2` is the program with `QUEUES=signature_request_state=256`: 256 jobs at once, in two batches.",
			run: func(ctx context.Context, b *bench, s *report.Scenario) error {
				return b.round(ctx, s, b.all(append(b.settings(), b.throughput())...), workBacklog)
			},
		},
		{
			id: "p5", title: "P5: from delivery to effect", quick: true,
			note: "64 connections deliver to a program that also works the events. The rate counts from the first delivery to the last effect.",
			run: func(ctx context.Context, b *bench, s *report.Scenario) error {
				return b.round(ctx, s, b.all(append(b.settings(), b.throughput())...), endToEnd)
			},
		},
		{
			id: "p6", title: "P6: an ordinary transactional job", quick: true,
			note: "A backlog as in P4. The effect is one inserted row: with `WorkTx` in ours, and with `JobCompleteTx` in textbook.",
			run: func(ctx context.Context, b *bench, s *report.Scenario) error {
				own := b.workTx(variant{name: "ours"})
				return b.round(ctx, s, []*contestant{own, b.textbook(effectRow)}, workBacklog)
			},
		},
	}
}

// throughput is the program with 256 jobs of signature_request_state at once, in
// two batches.
func (b *bench) throughput() *contestant {
	return b.ours(variant{throughputRow, []string{"QUEUES=signature_request_state=256"}})
}

// settings returns the program with its defaults and with each -variant.
func (b *bench) settings() []*contestant {
	all := []*contestant{b.plain()}
	for _, v := range b.variants {
		all = append(all, b.ours(v))
	}
	return all
}

// workTx is a program with one ordinary transactional job type, and no other.
func (b *bench) workTx(v variant) *contestant {
	c := ingester(v.name, "ours", []string{b.self, "program"}, append([]string{"SIGNATURE_REQUEST_STATE=false"}, v.env...))
	c.counted = ingesterCounts("public.effects")
	return c
}

// ordinary returns [bench.workTx] with its defaults and with each -variant.
func (b *bench) ordinary() []*contestant {
	all := []*contestant{b.workTx(variant{name: "ours" + ordinarySuffix})}
	for _, v := range b.variants {
		all = append(all, b.workTx(variant{v.name + ordinarySuffix, v.env}))
	}
	return all
}

// ordinarySuffix marks the rows of an ordinary transactional job type.
const ordinarySuffix = " WorkTx"

// fillBacklog records n events with a program that only receives.
func (s *stage) fillBacklog(ctx context.Context, n int) error {
	p, err := s.start(ctx, roleIngest)
	if err != nil {
		return err
	}
	if _, err := s.load(ctx, p, load.Config{Connections: connections, Count: n}); err != nil {
		return err
	}
	if err := p.stop(); err != nil {
		return err
	}
	s.programs = nil
	if err := s.verify(ctx, false); err != nil {
		return err
	}
	return s.checkpoint(ctx)
}

// workBacklog measures a program that works a backlog.
func workBacklog(ctx context.Context, s *stage) error {
	if err := s.fillBacklog(ctx, s.backlog); err != nil {
		return err
	}
	p, err := s.start(ctx, roleWorker)
	if err != nil {
		return err
	}
	counted := s.contestant.counted
	none := `SELECT NOT EXISTS (` + "SELECT" + counted.effects[len(`SELECT count(*)`):] + `)`
	if err := s.wait(ctx, often/4, none); err != nil {
		return err
	}
	from, err := s.usage(ctx, p)
	if err != nil {
		return err
	}
	before, err := s.count(ctx, counted.effects)
	if err != nil {
		return err
	}
	if err := s.wait(ctx, often, counted.unsettled); err != nil {
		return err
	}
	length := time.Since(from.at)
	if err := s.wait(ctx, often, counted.unfinished); err != nil {
		return err
	}
	to, err := s.usage(ctx, p)
	if err != nil {
		return err
	}
	if worked := s.backlog - before; worked > 0 {
		s.add(report.MetricRate, "events/s", float64(worked)/length.Seconds())
		s.addUsage(from, to, worked)
	}
	return s.verify(ctx, true)
}

// endToEnd measures a program that receives and works.
func endToEnd(ctx context.Context, s *stage) error {
	p, err := s.start(ctx, roleAll)
	if err != nil {
		return err
	}
	if _, err := s.closedLoop(ctx, p, connections, s.seconds*warmUp); err != nil {
		return err
	}
	counted := s.contestant.counted
	if err := s.wait(ctx, often, counted.unfinished); err != nil {
		return err
	}
	from, err := s.usage(ctx, p)
	if err != nil {
		return err
	}
	l, err := s.beginLoad(ctx, p, load.Config{Connections: connections, Seconds: s.seconds})
	if err != nil {
		return err
	}
	r, err := l.wait()
	if err != nil {
		return err
	}
	if err := s.wait(ctx, often, counted.unsettled); err != nil {
		return err
	}
	length := time.Since(from.at)
	if err := s.wait(ctx, often, counted.unfinished); err != nil {
		return err
	}
	to, err := s.usage(ctx, p)
	if err != nil {
		return err
	}
	s.add(report.MetricRate, "events/s", float64(r.Events)/length.Seconds())
	s.addLatencies(r)
	s.addUsage(from, to, r.Events)
	s.addLoad(l, r)
	return s.verify(ctx, true)
}
