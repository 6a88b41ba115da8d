// Command signing-jobs is lumin-ingest with its own job types.
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
		registry.AddTx(jobs.SignatureRequestState{}) // maintains lumin.signature_requests
		registry.AddTx(BookRevenue{})
		return registry, nil
	})
}
