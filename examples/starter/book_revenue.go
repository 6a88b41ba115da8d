package main

import (
	"context"
	_ "embed"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/lumin"
	"lumin-ingest/worker"
)

// revenueSQL creates the table of BookRevenue.
//
//go:embed revenue.sql
var revenueSQL string

// BookRevenue records revenue for each signature request that every signer has
// signed.
type BookRevenue struct {
	worker.Defaults // 10 attempts in about three hours, 10 s per attempt, all sources
}

// Kind returns the name of the job type. Never change it: it is stored with
// every run.
func (BookRevenue) Kind() string { return "book_revenue" }

// Events returns the event types that the job type handles.
func (BookRevenue) Events() []lumin.EventType {
	return []lumin.EventType{lumin.SignatureRequestApproved}
}

// WorkTx handles one event and writes only through tx. Returning nil commits
// the transaction. Returning an error rolls it back.
func (BookRevenue) WorkTx(ctx context.Context, tx pgx.Tx, e *worker.Event) error {
	request, err := lumin.DecodeSignatureRequest(e.Payload)
	if err != nil {
		return worker.JobFail(err) // permanent: another attempt would read the same body
	}
	_, err = tx.Exec(ctx, `INSERT INTO public.revenue (event_key, title, booked_at) VALUES ($1, $2, $3)`,
		e.Key.String(), request.Title, e.Time)
	return err
}
