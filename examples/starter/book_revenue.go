package main

import (
	"context"
	_ "embed"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
	"lumin-ingest/store"
	"lumin-ingest/worker"
)

// revenueSQL makes the table of BookRevenue.
//
//go:embed revenue.sql
var revenueSQL string

// BookRevenue books every signature request that all have signed.
type BookRevenue struct {
	worker.Defaults // 10 attempts in about three hours, 10 s each, every source
}

// Kind is stored with every run: never change it.
func (BookRevenue) Kind() string { return "book_revenue" }

// Events are the event types that it wants.
func (BookRevenue) Events() []lumin.EventType {
	return []lumin.EventType{lumin.SignatureRequestApproved}
}

// WorkTx works through tx alone; return nil to commit, an error to roll back.
func (BookRevenue) WorkTx(ctx context.Context, tx pgx.Tx, e *store.Event) error {
	request, err := lumin.DecodeSignatureRequest(e.Payload)
	if err != nil {
		return worker.JobFail(err) // the body will not get better
	}
	_, err = tx.Exec(ctx, `INSERT INTO public.revenue (event_key, title, booked_at) VALUES ($1, $2, $3)`,
		e.Key.String(), request.Title, e.Time)
	return err
}
