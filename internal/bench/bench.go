package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"lumin-ingest/internal/bench/report"
	"lumin-ingest/internal/pgdev"
)

// bench is one run of the benchmark.
type bench struct {
	options
	folder  string // temporary
	self    string // this program
	current built  // programs of this checkout
	older   built  // programs of the older commit
	base    int64  // event_time of the first event of every load
	series  uint32 // number of loads so far
	server  *pgdev.Server
	result  report.Result
}

// scenario measures one thing.
type scenario struct {
	id, title, note string
	quick           bool // part of -quick
	run             func(ctx context.Context, b *bench, s *report.Scenario) error
}

// scenarios lists all scenarios in the order in which they run.
func scenarios() []scenario {
	return slices.Concat(recordScenarios(), workScenarios(), latencyScenarios(), otherScenarios(), []scenario{dashboardScenario()})
}

func scenarioIDs() (ids []string) {
	for _, s := range scenarios() {
		ids = append(ids, s.id)
	}
	return ids
}

// measure runs the chosen scenarios and writes the results. After an error it
// goes on with the next scenario, because a run takes long, and fails at its end.
func measure(ctx context.Context, o options) (err error) {
	b := &bench{options: o, base: time.Now().Add(-time.Hour).UnixMilli()}
	if err := checkSystem(); err != nil {
		return err
	}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.folder, err = os.MkdirTemp("", "lumin-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.folder)
	if err := b.build(ctx); err != nil {
		return err
	}
	if b.server, err = newServer(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.server.Close()) }()
	if err := b.describe(ctx); err != nil {
		return err
	}
	for _, s := range scenarios() {
		if !b.chosen(s) {
			continue
		}
		b.logf("%s: %s", s.id, s.title)
		result := &report.Scenario{ID: s.id, Title: s.title, Note: s.note}
		b.result.Scenarios = append(b.result.Scenarios, result)
		if failed := s.run(ctx, b, result); failed != nil {
			b.logf("FAILED: %s: %v", s.id, failed)
			err = errors.Join(err, fmt.Errorf("%s: %w", s.id, failed))
			result.Failed = true
		}
		if ctx.Err() != nil {
			break
		}
	}
	if !o.quick { // its times mean nothing
		b.result.Judge(targets())
	}
	fmt.Print(b.result.Markdown(nil))
	if o.out != "" {
		err = errors.Join(err, b.result.Write(o.out))
	}
	if err == nil && o.quick {
		fmt.Println("\nevents, runs, effects and deliveries answered 200: the same number in every turn")
	}
	return err
}

func (b *bench) chosen(s scenario) bool {
	if len(b.scenarios) > 0 {
		return slices.Contains(b.scenarios, s.id)
	}
	return s.quick || !b.quick
}

// logf reports progress. The results come at the end.
func (b *bench) logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// serverSettings are the settings of every server, besides PostgreSQL's
// defaults. Checkpoints happen between turns instead of within them.
func serverSettings() map[string]string {
	return map[string]string{
		"shared_buffers": "128MB", "max_wal_size": "4GB", "checkpoint_timeout": "30min",
		"max_connections": "300", "track_commit_timestamp": "on",
	}
}

// newServer starts a private PostgreSQL.
func newServer(ctx context.Context) (*pgdev.Server, error) {
	return pgdev.Start(ctx, pgdev.Config{Durable: true, Settings: serverSettings()})
}

// round lets every contestant take a turn in each round. After the last round
// it adds a round through a counting proxy, unless -quick is set. A contestant
// that cannot run here is skipped with its reason.
func (b *bench) round(ctx context.Context, s *report.Scenario, all []*contestant, turn func(context.Context, *stage) error) error {
	var ready []*contestant
	for _, c := range all {
		if len(b.only) > 0 && !slices.Contains(b.only, c.name) {
			continue
		}
		err := b.prepare(ctx, b.server, c)
		var missing *missingError
		if errors.As(err, &missing) {
			b.logf("SKIPPED: %s: %s", c.name, missing.what)
			s.Skip(c.name + ": " + missing.what)
			continue
		}
		if err != nil {
			return fmt.Errorf("prepare %s: %w", c.name, err)
		}
		ready = append(ready, c)
	}
	counted := 1
	if b.quick {
		counted = 0
	}
	for n := range b.rounds + counted {
		for _, c := range ready {
			if n >= b.rounds && c.uncounted {
				continue // round trips are not counted for this contestant
			}
			if err := b.take(ctx, b.server, s, c, n, turn); err != nil {
				return fmt.Errorf("round %d, %s: %w", n+1, c.name, err)
			}
		}
	}
	return nil
}

// take is one turn of one contestant.
func (b *bench) take(ctx context.Context, server *pgdev.Server, s *report.Scenario, c *contestant, n int, turn func(context.Context, *stage) error) (err error) {
	st, err := b.newStage(ctx, server, s, c, n >= b.rounds)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.close()) }()
	if c.turn != nil {
		turn = c.turn
	}
	return turn(ctx, st)
}
