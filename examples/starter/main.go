// Command signing-jobs is lumin-ingest with job types of its own.
package main

import (
	"context"

	"lumin-ingest/app"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs"
)

func main() {
	app.Main(func(context.Context, app.Env) (*worker.Registry, error) {
		registry := worker.NewRegistry()
		registry.AddTx(jobs.SignatureRequestState{}) // keeps lumin.signature_requests
		registry.AddTx(BookRevenue{})
		return registry, nil
	})
}
