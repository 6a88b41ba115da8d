package app_test

import (
	"context"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/app"
	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

// BookRevenue writes one row for each approved signature request.
type BookRevenue struct{ worker.Defaults }

func (BookRevenue) Kind() string { return "book_revenue" }

func (BookRevenue) Events() []lumin.EventType {
	return []lumin.EventType{lumin.SignatureRequestApproved}
}

func (BookRevenue) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	_, err := tx.Exec(ctx, `INSERT INTO revenue (signature_request_id) VALUES ($1)`, e.SignatureRequestID)
	return err
}

// The main of a program with a job type of its own.
func ExampleMain() {
	app.Main(func(context.Context, app.Env) (*worker.Registry, error) {
		registry := worker.NewRegistry()
		registry.AddTx(BookRevenue{})
		return registry, nil
	})
}
