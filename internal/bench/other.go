package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"lumin-ingest/internal/bench/load"
	"lumin-ingest/internal/bench/report"
)

// otherScenarios measure growth, memory, duplicates and a distant database.
func otherScenarios() []scenario {
	return []scenario{
		{
			id: "p9", title: "P9: growth",
			note: "`filled` is a database with many past events. It takes turns with an empty one: first the load of P2 and P3, then the one of P7 (`backlog`).",
			run:  growth,
		},
		{
			id: "p10", title: "P10: memory",
			note: "Resident memory of the program. Under load, the highest value counts, and `growth` is the value at the end of the load " +
				"divided by the one in its middle.",
			run: measureMemory,
		},
		{
			id: "p11", title: "P11: duplicates only",
			note: "64 connections deliver 1,000 events again and again. `growth` is the size of all tables at the end, divided by that in the middle.",
			run: func(ctx context.Context, b *bench, s *report.Scenario) error {
				distinct, repeated := b.plain(), b.plain()
				distinct.name, repeated.name = "distinct events", "duplicates"
				repeated.turn = duplicates
				return b.round(ctx, s, []*contestant{distinct, repeated}, func(ctx context.Context, st *stage) error { return st.record(ctx, connections) })
			},
		},
		{
			id: "p12", title: "P12: a distant PostgreSQL",
			note: "As P3, with a proxy between the program and PostgreSQL that makes every round trip longer. `textbook` has a connection to PostgreSQL " +
				"for each of the 64 callers, and `textbook 16` has 16, which is a more usual number.",
			run: distance,
		},
	}
}

// duplicateEvents is the number of different events in P11.
const duplicateEvents = 1000

// duplicates measures deliveries of events that are stored already.
func duplicates(ctx context.Context, s *stage) error {
	p, err := s.start(ctx, roleIngest)
	if err != nil {
		return err
	}
	s.series++
	again := load.Config{Connections: connections, Series: s.series, Distinct: duplicateEvents}
	first := again
	first.Count = duplicateEvents
	if _, err := s.load(ctx, p, first); err != nil {
		return err
	}
	s.answered = 0 // the same events come again
	again.Seconds = s.seconds / 2
	if _, err := s.load(ctx, p, again); err != nil {
		return err
	}
	middle, err := s.tableSize(ctx)
	if err != nil {
		return err
	}
	s.answered = 0
	again.Seconds = s.seconds
	if err := s.measureLoad(ctx, p, again); err != nil {
		return err
	}
	end, err := s.tableSize(ctx)
	if err != nil {
		return err
	}
	s.add(report.MetricGrowth, "×", float64(end)/float64(middle))
	s.answered = duplicateEvents
	return s.verify(ctx, false)
}

// tableSize returns the size of the program's tables with their indexes.
func (s *stage) tableSize(ctx context.Context) (int, error) {
	return s.count(ctx, `SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'lumin' AND c.relkind = 'r'`)
}

// distance measures deliveries with a delay to PostgreSQL.
func distance(ctx context.Context, b *bench, s *report.Scenario) error {
	var contestants []*contestant
	for _, delay := range distances() {
		few := b.textbookOf(effectState, 16)
		few.name = "textbook 16"
		for _, c := range append(b.all(b.plain()), few) {
			c.name += distanceSuffix(delay)
			c.uncounted = true // P2 counts them
			c.turn = func(ctx context.Context, st *stage) error {
				if err := st.route(delay); err != nil {
					return err
				}
				return st.record(ctx, connections)
			}
			contestants = append(contestants, c)
		}
	}
	return b.round(ctx, s, contestants, nil)
}

func distances() []time.Duration { return []time.Duration{time.Millisecond, 5 * time.Millisecond} }

func distanceSuffix(delay time.Duration) string { return fmt.Sprintf(", +%d ms", delay.Milliseconds()) }

// measureMemory measures resident memory.
func measureMemory(ctx context.Context, b *bench, s *report.Scenario) error {
	if err := b.round(ctx, s, append([]*contestant{b.plain()}, b.old()...), residentMemory); err != nil {
		return err
	}
	return b.exportMemory(ctx, s)
}

// Rows of P10.
const (
	idleRow   = ", idle"
	loadedRow = ", 64 connections"
	exportRow = "export"
)

const mebibyte = 1 << 20

// residentMemory measures a program that is idle, and then under load.
func residentMemory(ctx context.Context, s *stage) error {
	if s.counting {
		return nil
	}
	p, err := s.start(ctx, roleAll)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(time.Duration(s.seconds * float64(time.Second))):
	}
	idle, _, err := memory(p.pid())
	if err != nil {
		return err
	}
	name := s.label
	defer func() { s.label = name }()
	s.label = name + idleRow
	s.add(report.MetricMemory, "MiB", float64(idle)/mebibyte)
	if _, err := s.closedLoop(ctx, p, connections, s.seconds/2); err != nil {
		return err
	}
	middle, _, err := memory(p.pid())
	if err != nil {
		return err
	}
	if _, err := s.closedLoop(ctx, p, connections, s.seconds/2); err != nil {
		return err
	}
	end, highest, err := memory(p.pid())
	if err != nil {
		return err
	}
	s.label = name + loadedRow
	s.add(report.MetricMemory, "MiB", float64(highest)/mebibyte)
	s.add(report.MetricGrowth, "×", float64(end)/float64(middle))
	if status(ctx, p.ready) != http.StatusOK {
		return fmt.Errorf("%s is not ready after the load", name)
	}
	return nil
}
