//go:build unix

// Package subject is the program that package faults breaks: lumin-ingest with the
// job types that package faults describes.
//
// Use it in a binary that starts itself as the program under test. The environment
// variables [faults.SeedVariable], [faults.SteadyVariable], [faults.SlowVariable]
// and [faults.PoisonVariable] decide how the job types behave, and
// [faults.NameVariable] is in their effects.
//
//	if os.Getenv("FAULTS_PROGRAM") != "" {
//		subject.Main() // does not return
//	}
package subject

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/app"
	"lumin-ingest/internal/faults"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

// Main runs the program until its standard input ends.
func Main() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the run
		os.Exit(3)
	}()
	app.Main(jobTypes)
}

func jobTypes(context.Context, app.Env) (*worker.Registry, error) {
	steady := os.Getenv(faults.SteadyVariable) != ""
	by := unsteady{chance: newChance(os.Getenv(faults.SeedVariable), steady)}
	registry := worker.NewRegistry()
	registry.AddTx(effect{by})
	registry.AddBatch(effects{by})
	registry.AddOrdered(orderedEffect{by})
	registry.Add(callee{unsteady: by, path: os.Getenv(faults.CallsVariable)})
	addPoison(registry)
	return registry, nil
}

// unsteady is common to the job types: unless SteadyVariable is set, they
// sometimes fail after their effect, and rarely fail permanently.
type unsteady struct {
	worker.Defaults
	*chance
}

func (unsteady) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }
func (unsteady) Backoff(int) time.Duration { return time.Second }

// name is the name of this program.
func name() string { return os.Getenv(faults.NameVariable) }

type effect struct{ unsteady }

func (effect) Kind() string { return faults.EffectKind }

func (t effect) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	_, err := tx.Exec(ctx, `INSERT INTO faults.effects (event_key, job_kind, rerun, program) VALUES ($1, $2, $3, $4)`,
		[16]byte(e.Key), faults.EffectKind, e.Rerun, name())
	if err != nil {
		return err
	}
	if err := t.linger(ctx, e); err != nil {
		return err
	}
	return t.coin(e)
}

// linger waits up to the time in SlowVariable, so that a job can be hit between
// its effect and its commit.
func (c *chance) linger(ctx context.Context, e *worker.Event) error {
	longest, _ := time.ParseDuration(os.Getenv(faults.SlowVariable)) // 0 if it is not set
	if longest <= 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Duration(c.draw(e, "linger").Int64N(int64(longest)))):
		return nil
	}
}

type effects struct{ unsteady }

func (effects) Kind() string { return faults.BatchKind }

func (t effects) WorkBatch(ctx context.Context, tx pgx.Tx, events []*worker.Event) error {
	for _, e := range events {
		_, err := tx.Exec(ctx, `INSERT INTO faults.effects (event_key, job_kind, rerun, program) VALUES ($1, $2, $3, $4)`,
			[16]byte(e.Key), faults.BatchKind, e.Rerun, name())
		if err == nil {
			err = t.coin(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// orderedEffect takes a while, so that two at the same time are noticed.
type orderedEffect struct{ unsteady }

func (orderedEffect) Kind() string { return faults.OrderedKind }

func (t orderedEffect) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	_, err := tx.Exec(ctx, `
		WITH work AS MATERIALIZED (SELECT clock_timestamp() AS began), spent AS MATERIALIZED (SELECT began, pg_sleep(0.01) FROM work)
		INSERT INTO faults.effects (event_key, job_kind, rerun, tx_began, began, at, program)
		SELECT $1, $2, $3, now(), began, clock_timestamp(), $4 FROM spent`, [16]byte(e.Key), faults.OrderedKind, e.Rerun, name())
	if err != nil {
		return err
	}
	return t.coin(e)
}

type callee struct {
	unsteady
	path string
}

func (callee) Kind() string { return faults.CallKind }

func (t callee) Work(_ context.Context, e *worker.Event) error {
	if err := faults.NoteCall(t.path, e.Key, e.Rerun); err != nil {
		return err
	}
	return t.coin(e)
}
