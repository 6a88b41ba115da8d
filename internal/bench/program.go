package main

import (
	"context"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/app"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

// runProgram runs a program with one ordinary transactional job type, and
// exits.
func runProgram() {
	app.Main(func(context.Context, app.Env) (*worker.Registry, error) {
		registry := worker.NewRegistry()
		registry.AddTx(insertRow{})
		return registry, nil
	})
}

// insertRow is the job type. The same effect as that of the textbook program.
type insertRow struct{ worker.Defaults }

func (insertRow) Kind() string { return "insert_row" }

func (insertRow) Events() []lumin.EventType { return []lumin.EventType{lumin.AnyEvent} }

func (insertRow) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	_, err := tx.Exec(ctx, `INSERT INTO public.effects (event_key) VALUES ($1)`, e.Key.String())
	return err
}
