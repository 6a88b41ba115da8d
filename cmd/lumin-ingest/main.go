// Command lumin-ingest receives Lumin Sign's webhooks, keeps them in PostgreSQL
// and works them with the built-in job types. Programs with job types of their
// own have a main like this one.
package main

import (
	"context"

	_ "gocloud.dev/blob/s3blob" // s3:// in ARCHIVE_URL, for S3 and compatible servers

	"lumin-ingest/app"
	"lumin-ingest/worker"
	"lumin-ingest/worker/jobs"
)

func main() {
	app.Main(func(ctx context.Context, env app.Env) (*worker.Registry, error) {
		registry := worker.NewRegistry()
		registry.AddTx(jobs.SignatureRequestState{})
		return registry, env.AddBuiltIn(ctx, registry)
	})
}
