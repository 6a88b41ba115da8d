package reconcile

import (
	"context"
	"time"

	"lumin-ingest/worker/jobs/internal/lookup"
)

// Companion compares the answers of another pass over Lumin's API, so that none
// is requested twice. It marks signature requests as checked and as gone like
// [Reconciler.Run].
type Companion struct {
	pass *pass
}

// Along returns a Companion for a pass that begins now.
func (r *Reconciler) Along(l *lookup.Pass) *Companion {
	return &Companion{&pass{Reconciler: r, since: time.Now(), lookup: l}}
}

// Take compares an answer with the row of its signature request, if it has one.
func (c *Companion) Take(ctx context.Context, answer lookup.Answer) error {
	return c.pass.take(ctx, answer)
}

// Finish marks the signature requests that Lumin did not have as gone.
func (c *Companion) Finish(ctx context.Context) error { return c.pass.finish(ctx) }

// Summary counts the differences so far.
func (c *Companion) Summary() Summary { return c.pass.summary() }
