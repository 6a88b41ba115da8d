package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// withdrawSQL takes back jobs that have not begun. A job that a worker fetches at
// this moment is locked and stays. Jobs are gone through by id, from the first that
// can be the order's: to find them by their arguments would read all of them for
// every page.
const withdrawSQL = `
WITH page AS (
    SELECT j.id, j.kind, lumin.run_key(j.args) AS event_key
    FROM lumin.river_job j
    WHERE j.id > $2 AND j.state IN ('available', 'pending', 'retryable', 'scheduled')
      AND j.args ? 'event_key' AND j.args -> 'replay_id' = to_jsonb($1::bigint)
    ORDER BY j.id LIMIT $3
    FOR UPDATE OF j SKIP LOCKED
), gone AS (
    DELETE FROM lumin.river_job j USING page p WHERE j.id = p.id
)
SELECT id, kind, event_key FROM page`

// The run is put back as it was before the order.
const (
	restoreRunsSQL = `
UPDATE lumin.runs r
SET state = $4, finished_at = now(), error = CASE WHEN $4 <> 'succeeded' THEN r.error END
FROM unnest($2::uuid[], $3::text[]) AS w (event_key, job_kind)
WHERE r.event_key = w.event_key AND r.job_kind = w.job_kind AND r.replay_id = $1 AND r.state = 'pending'`

	removeRunsSQL = `
DELETE FROM lumin.runs r
USING unnest($2::uuid[], $3::text[]) AS w (event_key, job_kind)
WHERE r.event_key = w.event_key AND r.job_kind = w.job_kind AND r.replay_id = $1 AND r.state = 'pending'`
)

// WithdrawPage puts back runs of a cancelled order whose job has not begun, after
// the job of the given id, and returns where to go on; 0 when none is left and
// the order is over.
func (s *Store) WithdrawPage(ctx context.Context, order Replay, after int64) (next int64, err error) {
	err = pgx.BeginTxFunc(ctx, s.pool, readCommitted, func(tx pgx.Tx) error {
		next = 0
		var (
			keys  [][16]byte
			kinds []string
		)
		// What was retrying waits for its next attempt as before; and events that
		// were decoded are there to stay.
		if order.Filter.Status != ReplayRetrying && order.Filter.Status != ReplayUnrecognized {
			rows, err := tx.Query(ctx, withdrawSQL, order.ID, max(after, order.jobsAfter), replayPageRuns)
			if err != nil {
				return fmt.Errorf("withdraw jobs of replay %d: %w", order.ID, err)
			}
			var (
				kind string
				key  [16]byte
			)
			_, err = pgx.ForEachRow(rows, []any{&next, &kind, &key}, func() error {
				keys, kinds = append(keys, key), append(kinds, kind)
				return nil
			})
			if err != nil {
				return fmt.Errorf("withdraw jobs of replay %d: %w", order.ID, err)
			}
		}
		var restored int64
		if len(keys) > 0 {
			sql, args := restoreRunsSQL, []any{order.ID, keys, kinds}
			if state := order.Filter.Status.RunState(); state != "" {
				args = append(args, state)
			} else {
				sql = removeRunsSQL
			}
			tag, err := tx.Exec(ctx, sql, args...)
			if err != nil {
				return fmt.Errorf("put back runs of replay %d: %w", order.ID, err)
			}
			restored = tag.RowsAffected()
		}
		_, err := tx.Exec(ctx, `
			UPDATE lumin.replays SET withdrawn = withdrawn + $2, finished_at = CASE WHEN $3 THEN coalesce(finished_at, now()) END
			WHERE id = $1 AND state = 'cancelled'`, order.ID, restored, len(keys) == 0)
		if err != nil {
			return fmt.Errorf("count what was withdrawn of replay %d: %w", order.ID, err)
		}
		return nil
	})
	return next, err
}
