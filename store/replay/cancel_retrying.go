package replay

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

// CancelRetrying cancels the runs that match and wait for their next attempt. A
// trigger makes their runs cancelled, with their errors, so that a replay can
// repeat them. Running attempts go on. It returns how many runs it cancelled, even
// with an error, and may be called again at any time.
func (s *Store) CancelRetrying(ctx context.Context, f Filter) (runs int64, err error) {
	if f.Status != Retrying {
		return 0, fmt.Errorf("cancel %s runs: only retrying runs can be cancelled", f.Status.RunState())
	}
	if err := f.Validate(); err != nil {
		return 0, err
	}
	if f, err = s.bounded(ctx, f); err != nil {
		return 0, err
	}
	args := f.args()
	args["limit"], args["after"] = eachFailurePage, int64(0)
	for {
		ids, err := query.Column[int64](ctx, s.pool, "cancel retrying runs", cancelRetryingSQL(f), pgx.QueryExecModeCacheDescribe, args)
		if err != nil {
			return runs, err
		}
		runs += int64(len(ids))
		if len(ids) < eachFailurePage {
			return runs, nil
		}
		args["after"] = ids[len(ids)-1]
	}
}

// cancelRetryingSQL does what River's cancellation does for a job that is not
// running.
func cancelRetryingSQL(f Filter) string {
	page := f.runs(withBody).and(`j.id > @after`)
	return `WITH page AS (
    SELECT j.id
    ` + page.SQL(4) + `
    ORDER BY j.id LIMIT @limit
    FOR UPDATE OF j, r SKIP LOCKED
), cancelled AS (
    UPDATE lumin.river_job j
    SET state = 'cancelled', finalized_at = now(), metadata = jsonb_set(j.metadata, '{cancel_attempted_at}', to_jsonb(now()))
    FROM page p WHERE j.id = p.id
    RETURNING j.id
)
SELECT id FROM cancelled ORDER BY id`
}
