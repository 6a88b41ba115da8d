package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"lumin-ingest/internal/bench/load"
	"lumin-ingest/internal/bench/report"
)

// steadyRate is the number of deliveries a second in P7, P8 and P9.
const steadyRate = 200

// idleSuffix marks the rows that P7 is compared with.
const idleSuffix = ", no backlog"

// latencyScenarios measure times under a steady rate of deliveries.
func latencyScenarios() []scenario {
	return []scenario{
		{
			id: "p7", title: "P7: 200 deliveries a second during a backlog",
			note: "A program receives 200 deliveries a second while it works a backlog of older events. Latencies count until the backlog is drained. " +
				"The rows without a backlog are the same program at the same rate.",
			run: func(ctx context.Context, b *bench, s *report.Scenario) error {
				return b.round(ctx, s, slices.Concat(b.settings(), b.ordinary(), b.old()), duringBacklog)
			},
		},
		{
			id: "p8", title: "P8: from answer to committed effect",
			note: "A program receives 200 deliveries a second and works them. The time counts from the answer, as the caller sees it, " +
				"to PostgreSQL's time of the effect's commit.",
			run: func(ctx context.Context, b *bench, s *report.Scenario) error {
				return b.round(ctx, s, b.all(b.plain()), untilEffect)
			},
		},
	}
}

// duringBacklog measures a steady rate without a backlog, and then with one.
func duringBacklog(ctx context.Context, s *stage) error {
	if s.counting {
		return nil
	}
	if err := s.steadyIdle(ctx); err != nil {
		return err
	}
	if err := s.fillWorked(ctx, s.large); err != nil {
		return err
	}
	return s.steadyDrain(ctx)
}

// steadyIdle measures a steady rate without a backlog, and ends the program.
func (s *stage) steadyIdle(ctx context.Context) error {
	p, err := s.start(ctx, roleAll)
	if err != nil {
		return err
	}
	if _, err := s.load(ctx, p, load.Config{Connections: connections, Seconds: s.seconds * warmUp, Rate: steadyRate}); err != nil {
		return err
	}
	r, err := s.load(ctx, p, load.Config{Connections: connections, Seconds: s.seconds, Rate: steadyRate})
	if err != nil {
		return err
	}
	label := s.label
	s.label += idleSuffix
	s.addLatencies(r)
	s.label = label
	if err := s.wait(ctx, often, s.contestant.counted.unfinished); err != nil {
		return err
	}
	s.programs = nil
	return p.stop()
}

// fillWorked is fillBacklog for a database in which events were worked before.
func (s *stage) fillWorked(ctx context.Context, n int) error {
	p, err := s.start(ctx, roleIngest)
	if err != nil {
		return err
	}
	if _, err := s.load(ctx, p, load.Config{Connections: connections, Count: n}); err != nil {
		return err
	}
	s.programs = nil
	if err := p.stop(); err != nil {
		return err
	}
	return s.checkpoint(ctx)
}

// steadyDrain measures a steady rate until a backlog is drained, and checks the
// turn.
func (s *stage) steadyDrain(ctx context.Context) error {
	if err := s.drain(ctx); err != nil {
		return err
	}
	return s.verify(ctx, true)
}

// drain measures a steady rate until a backlog is drained.
func (s *stage) drain(ctx context.Context) error {
	counted := s.contestant.counted
	last, err := s.count(ctx, counted.last)
	if err != nil {
		return err
	}
	p, err := s.start(ctx, roleAll)
	if err != nil {
		return err
	}
	start := time.Now()
	l, err := s.beginLoad(ctx, p, load.Config{Connections: connections, UntilClosed: true, Rate: steadyRate})
	if err != nil {
		return err
	}
	if err := s.wait(ctx, seldom, counted.unsettledUntil, last); err != nil {
		return err
	}
	s.add(report.MetricDrain, "s", time.Since(start).Seconds())
	r, err := l.end()
	if err != nil {
		return err
	}
	s.addLatencies(r)
	return s.wait(ctx, often, counted.unfinished)
}

// untilEffect measures the time from an answer to the commit of its effect.
func untilEffect(ctx context.Context, s *stage) error {
	if s.counting {
		return nil
	}
	p, err := s.start(ctx, roleAll)
	if err != nil {
		return err
	}
	if _, err := s.load(ctx, p, load.Config{Connections: connections, Seconds: s.seconds * warmUp, Rate: steadyRate}); err != nil {
		return err
	}
	r, err := s.load(ctx, p, load.Config{Connections: connections, Seconds: s.seconds, Rate: steadyRate, Times: true})
	if err != nil {
		return err
	}
	if err := s.wait(ctx, often, s.contestant.counted.unfinished); err != nil {
		return err
	}
	delays, err := s.effectDelays(ctx, r.Answered)
	if err != nil {
		return err
	}
	s.add(report.MetricEffectP50, "ms", percentile(delays, 0.5))
	s.add(report.MetricEffectP99, "ms", percentile(delays, 0.99))
	s.addLatencies(r)
	return s.verify(ctx, true)
}

// effectDelays returns the sorted times from the answers to the commits of
// their effects, in milliseconds. An effect that was committed before its
// answer arrived counts as zero.
func (s *stage) effectDelays(ctx context.Context, answered []load.Answer) ([]float64, error) {
	rows, err := s.pool.Query(ctx, s.contestant.counted.times)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	committed := map[string]time.Time{}
	for rows.Next() {
		var id string
		var at time.Time
		if err := rows.Scan(&id, &at); err != nil {
			return nil, err
		}
		committed[id] = at
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	var delays []float64
	for _, a := range answered {
		at, found := committed[a.SignatureRequestID]
		if !found {
			return nil, fmt.Errorf("signature request %s was answered 200 and has no effect", a.SignatureRequestID)
		}
		delays = append(delays, max(0, float64(at.Sub(a.At))/float64(time.Millisecond)))
	}
	slices.Sort(delays)
	return delays, nil
}

// percentile returns a percentile of sorted values: the smallest one that is at
// least as large as this share of all.
func percentile(sorted []float64, share float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	return sorted[max(int(math.Ceil(share*float64(len(sorted)))), 1)-1]
}
