package catalog

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lumin-ingest/internal/query"
)

// Purposes of kinds that are not job types.
const (
	FollowUp = "follow_up"
	Periodic = "periodic"
)

// OtherKind is one row of lumin.other_kinds: a kind of jobs that have no runs.
type OtherKind struct {
	Kind    string
	Purpose string // FollowUp or Periodic
	Queue   string
}

const registerOtherKindSQL = `
INSERT INTO lumin.other_kinds (kind, purpose, queue) VALUES ($1, $2, $3)
ON CONFLICT (kind) DO UPDATE SET purpose = excluded.purpose, queue = excluded.queue, last_seen = now()`

// AddOtherKinds registers the kinds of a program that are not job types.
func AddOtherKinds(ctx context.Context, pool *pgxpool.Pool, kinds []OtherKind) error {
	if len(kinds) == 0 {
		return nil
	}
	batch := &pgx.Batch{}
	// Sorted, so that programs that start together lock rows in the same order.
	for _, k := range slices.SortedFunc(slices.Values(kinds), func(a, b OtherKind) int { return cmp.Compare(a.Kind, b.Kind) }) {
		batch.Queue(registerOtherKindSQL, k.Kind, k.Purpose, k.Queue)
	}
	if err := pool.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("register other kinds: %w", err)
	}
	return nil
}

// FollowUpKinds lists the kinds of follow-up jobs that any program has ever
// registered here.
func FollowUpKinds(ctx context.Context, pool *pgxpool.Pool) ([]string, error) {
	return query.Column[string](ctx, pool, "list follow-up kinds", `SELECT kind FROM lumin.other_kinds WHERE purpose = 'follow_up' ORDER BY kind`)
}
