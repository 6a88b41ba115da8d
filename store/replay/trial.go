package replay

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
	"lumin-ingest/lumin"
	"lumin-ingest/store"
)

// Run is a run that an order would make pending.
type Run struct {
	EventKey lumin.EventKey
	Kind     string
	EventID  int64

	state    string // empty: an order would create the run
	replayID int64
}

// Matching returns the runs of one job type that an order with this filter would
// make pending now, at most limit, the oldest event first. It locks nothing.
func (s *Store) Matching(ctx context.Context, f Filter, kind string, limit int) (runs []Run, err error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	f.Kinds = []string{kind}
	if f, err = s.bounded(ctx, f); err != nil {
		return nil, err
	}
	args := f.args()
	args["limit"] = limit
	if f.creates() {
		of, err := subscriptions(ctx, s.pool, f.Kinds)
		if err != nil || len(of) == 0 {
			return nil, err
		}
		setSubscription(args, of[0])
	}
	runs, err = query.Rows(ctx, s.pool, "choose runs", func(row pgx.CollectableRow) (Run, error) {
		r := Run{Kind: kind}
		return r, row.Scan((*[16]byte)(&r.EventKey), &r.EventID, &r.state, &r.replayID)
	}, matchingSQL(f), pgx.QueryExecModeCacheDescribe, args)
	return withoutCopies(runs), err
}

func matchingSQL(f Filter) string {
	switch f.Status {
	case Missing, Late:
		return "SELECT e.event_key, e.id, '', 0::bigint\n" + f.missingRuns(withBody).SQL(0) + "\nORDER BY e.id LIMIT @limit"
	default:
		return "SELECT r.event_key, r.event_id, r.state, r.replay_id\n" + f.runs(withBody).SQL(0) + "\nORDER BY r.event_key LIMIT @limit"
	}
}

// withoutCopies removes all copies of an event but the first: they share a run.
func withoutCopies(runs []Run) (distinct []Run) {
	seen := make(map[lumin.EventKey]bool, len(runs))
	for _, r := range runs {
		if !seen[r.EventKey] {
			seen[r.EventKey] = true
			distinct = append(distinct, r)
		}
	}
	return distinct
}

// takeOneSQL makes one run pending, as runsPageSQL does with many.
const takeOneSQL = `
UPDATE lumin.runs r
SET state = 'pending', replay_id = r.replay_id + 1, finished_at = NULL, rerun = r.rerun + (r.state = 'succeeded')::int
WHERE r.ctid = ANY (ARRAY(
    SELECT ctid FROM lumin.runs
    WHERE event_key = $1 AND job_kind = $2 AND state = $3 AND replay_id = $4
    FOR UPDATE SKIP LOCKED))
RETURNING r.replay_id`

const createOneSQL = `
INSERT INTO lumin.runs (event_key, job_kind, event_id, replay_id, job_id) VALUES ($1, $2, $3, 1, 0)
ON CONFLICT (event_key, job_kind) DO NOTHING
RETURNING replay_id`

// TakeTx makes the run pending in tx, as an order would, and returns the attempt
// that its job would make. No job exists. The caller must roll tx back.
// [store.ErrRunLocked] means that another transaction holds the run, or has
// changed it since [Store.Matching].
func (r Run) TakeTx(ctx context.Context, tx pgx.Tx) (store.Attempt, error) {
	a := store.Attempt{JobArgs: store.JobArgs{EventKey: r.EventKey, JobKind: r.Kind}, Number: 1}
	sql, args := takeOneSQL, []any{[16]byte(r.EventKey), r.Kind, r.state, r.replayID}
	if r.state == "" {
		sql, args = createOneSQL, []any{[16]byte(r.EventKey), r.Kind, r.EventID}
	}
	err := tx.QueryRow(ctx, sql, args...).Scan(&a.ReplayID)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return a, store.ErrRunLocked
	case err != nil:
		return a, fmt.Errorf("take run: %w", err)
	}
	return a, nil
}

// Fingerprints returns the error fingerprints of error texts, as in lumin.runs.
func (s *Store) Fingerprints(ctx context.Context, errors []string) ([]string, error) {
	return query.Column[string](ctx, s.pool, "compute error fingerprints",
		`SELECT lumin.error_fingerprint(e.text) FROM unnest($1::text[]) WITH ORDINALITY AS e (text, n) ORDER BY e.n`, query.NotNull(errors))
}
