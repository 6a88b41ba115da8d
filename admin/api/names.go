package api

import (
	"context"
	"net/http"

	"lumin-ingest/admin/access"
	"lumin-ingest/admin/window"
)

// StoredKind says whether a job type has runs that have not succeeded.
type StoredKind struct {
	Stored bool `json:"stored"`
}

// Fingerprints are the errors of runs.
type Fingerprints struct {
	Fingerprints []string `json:"fingerprints"`
	Complete     bool     `json:"complete"`
}

func (a *api) names() {
	const tag = "Names"
	add(a, operation{
		id: "list-names", method: http.MethodGet, path: "/names", tag: tag, role: access.Read,
		summary:     "List the names in use",
		description: "Lists the event types, sources and job types that filters may use.",
	}, func(ctx context.Context, _ *struct{}) (window.Names, error) { return a.window.Names(ctx) })
	add(a, operation{
		id: "find-job-type", method: http.MethodGet, path: "/names/job-type", tag: tag, role: access.Read,
		summary:     "Find runs of a removed job type",
		description: "Says whether a job type has runs that have not succeeded. They remain when a job type is removed.",
	}, func(ctx context.Context, in *struct {
		Kind string `query:"job_kind" required:"true" maxLength:"200" doc:"The job type."`
	}) (StoredKind, error) {
		stored, err := a.window.StoredKind(ctx, in.Kind)
		return StoredKind{stored}, err
	})
	add(a, operation{
		id: "list-errors", method: http.MethodGet, path: "/names/errors", tag: tag, role: access.Read,
		summary:     "List error fingerprints",
		description: "Lists the fingerprints of the errors of runs in a state. Errors with the same fingerprint differ only in numbers and names.",
	}, func(ctx context.Context, in *struct {
		State string `query:"state" required:"true" enum:"failed,pending,cancelled,succeeded,dismissed" doc:"The state of the runs."`
	}) (Fingerprints, error) {
		names, all, err := a.window.Fingerprints(ctx, in.State)
		return Fingerprints{names, all}, err
	})
}
