// Command signing-jobs is lumin-ingest with its own job types.
package main

import (
	"context"

	"lumin-ingest/app"
	"lumin-ingest/worker"
)

func main() {
	app.Main(func(context.Context, app.Env) (*worker.Registry, error) {
		registry := worker.NewRegistry()
		registry.AddTx(BookRevenue{})
		return registry, nil
	})
}
