//go:build unix

package faults

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"lumin-ingest/internal/pgproxy"
)

// pointBound is how long the program may take to reach a statement.
const pointBound = 30 * time.Second

// point is a moment in the work of the program, as its proxy sees it.
type point struct {
	name  string
	at    func(pgproxy.Moment) bool
	fault pgproxy.Fault // DropRequest is before the statement, DropReply after it
	wrote bool          // the transaction must have written something before it
}

// Statements of the program that its proxy recognizes. Recording inserts events,
// runs and jobs with one statement, and commits in the same round trip.
func records(sql string) bool { return strings.Contains(sql, "INSERT INTO lumin.events (") }
func claims(sql string) bool  { return strings.Contains(sql, "WITH claimed AS") }
func effects(sql string) bool { return strings.Contains(sql, "INSERT INTO faults.effects") }
func settles(sql string) bool {
	return strings.HasPrefix(strings.TrimSpace(sql), "UPDATE lumin.runs r\nSET state = 'succeeded'")
}
func completes(sql string) bool { return strings.Contains(sql, "JobSetStateIfRunning") }

// statement matches a statement by its text.
func statement(is func(string) bool) func(pgproxy.Moment) bool {
	return func(m pgproxy.Moment) bool { return is(m.SQL) }
}

// commit matches the COMMIT of a transaction with a statement.
func commit(is func(string) bool) func(pgproxy.Moment) bool {
	return func(m pgproxy.Moment) bool { return m.Commits() && slices.ContainsFunc(m.Earlier, is) }
}

// points lists the named moments of the plan.
func points() []point {
	const before, after = pgproxy.DropRequest, pgproxy.DropReply
	return []point{
		{"before the insert of events, runs and jobs", statement(records), before, false},
		{"after the insert of events, runs and jobs, before COMMIT", statement(records), after, false},
		{"before COMMIT of a recording", commit(records), before, true},
		{"after COMMIT of a recording, before the answer", commit(records), after, true},
		{"after the answer", nil, pgproxy.Pass, false},
		{"before the claim", statement(claims), before, false},
		{"after the claim", statement(claims), after, false},
		{"before the effect", statement(effects), before, false},
		{"after the effect", statement(effects), after, false},
		{"before COMMIT of effect and settlement", commit(effects), before, true},
		{"after COMMIT of effect and settlement", commit(effects), after, true},
		{"before the settlement of a plain job", statement(settles), before, false},
		{"after the settlement of a plain job", statement(settles), after, false},
		{"before River completes jobs", statement(completes), before, false},
		{"after River has completed jobs", statement(completes), after, false},
	}
}

// killScenario is T1. One program does everything, so each kill is an outage.
func killScenario() Scenario {
	return Scenario{
		ID: "T1", Name: "SIGKILL of the only program, at random 20 to 500 ms after it works and at named points",
		Size:       "10,000 events, 200 kills, half of them at 15 named points",
		setup:      setup{programs: 1, rate: 40, env: []string{"WORKERS=16"}},
		lastEffect: killedBound,
		inject: func(ctx context.Context, s *scene) error {
			kills, named := s.count(200, 30), points()
			const burst = 20 // the jobs that were at work are rescued together
			for n := range kills {
				var err error
				if n%2 == 0 {
					err = s.killSoon(ctx)
				} else {
					err = s.killAt(ctx, named[n/2%len(named)])
				}
				if err == nil {
					err = s.acked(ctx)
				}
				if err == nil && (n%burst == burst-1 || n == kills-1) {
					err = s.recover(ctx)
				}
				if err != nil {
					return err
				}
			}
			return s.acknowledged(ctx, s.count(10_000, 300))
		},
	}
}

// killSoon kills the program while it works.
func (s *scene) killSoon(ctx context.Context) error {
	p := s.programs[0]
	pause(ctx, between(s.rng, 20*time.Millisecond, 500*time.Millisecond))
	return s.hit(ctx, "kill", func(ctx context.Context) error {
		if err := p.kill(ctx); err != nil {
			return err
		}
		return p.start(p.role)
	})
}

// killAt kills the program at a point.
func (s *scene) killAt(ctx context.Context, at point) error {
	p, proxy := s.programs[0], s.servers.proxies[0]
	return s.hit(ctx, "kill "+at.name, func(ctx context.Context) error {
		killed := make(chan error, 1)
		kill := sync.OnceFunc(func() { killed <- p.kill(ctx) })
		if at.at == nil {
			s.clients.acked.Store(&kill)
			defer s.clients.acked.Store(nil)
		} else {
			when := func(pid uint32) bool { return !at.wrote || s.wrote(ctx, pid) }
			proxy.At(pgproxy.Strike{At: at.at, When: when, Fault: at.fault, Times: 1, Do: kill})
			defer proxy.At(pgproxy.Strike{})
		}
		select {
		case err := <-killed:
			if err != nil {
				return err
			}
		case <-time.After(pointBound):
			return fmt.Errorf("the program did not reach the point within %s", pointBound)
		}
		return p.start(p.role)
	})
}
