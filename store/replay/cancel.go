package replay

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

// ErrEnded means that an order has ended.
var ErrEnded = errors.New("the order has ended")

// Cancel ends an order. No further run becomes pending, and a running worker
// restores every run of the order whose job has not started. The error is
// ErrEnded for an order that has ended, and [store.ErrNotFound] if there is no
// such order.
func (s *Store) Cancel(ctx context.Context, id int64) error {
	tag, err := s.pool.Exec(ctx, `UPDATE lumin.replays SET state = 'cancelled' WHERE id = $1 AND state IN ('ordered', 'running')`, id)
	if err != nil {
		return fmt.Errorf("cancel replay %d: %w", id, err)
	}
	if tag.RowsAffected() == 1 {
		return nil
	}
	order, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	return fmt.Errorf("replay %d is %s: %w", id, order.State, ErrEnded)
}

// WithdrawPage restores runs of a cancelled order whose job has not started. It
// checks jobs after the given id and returns the id of the last one. It returns
// 0 when it has checked all jobs and the parked runs, which have no job. Then the
// order is finished.
func (s *Store) WithdrawPage(ctx context.Context, order Order, after int64) (next int64, err error) {
	err = pgx.BeginTxFunc(ctx, s.pool, query.ReadCommitted, func(tx pgx.Tx) (err error) {
		var jobs withdrawn
		// Retrying runs wait for an attempt, as they did before the order.
		// Decoded events are kept.
		if order.Filter.Status != Retrying && order.Filter.Status != Unrecognized {
			if jobs, err = withdrawJobs(ctx, tx, order, after); err == nil && len(jobs.keys) == 0 {
				jobs, err = withdrawParked(ctx, tx, order)
			}
			if err != nil {
				return fmt.Errorf("withdraw jobs of replay %d: %w", order.ID, err)
			}
		}
		next = jobs.lastID
		restored, err := restoreRuns(ctx, tx, order, jobs)
		if err != nil {
			return fmt.Errorf("restore runs of replay %d: %w", order.ID, err)
		}
		_, err = tx.Exec(ctx, `
			UPDATE lumin.replays SET withdrawn = withdrawn + $2, finished_at = CASE WHEN $3 THEN coalesce(finished_at, now()) END
			WHERE id = $1 AND state = 'cancelled'`, order.ID, restored, next == 0)
		if err != nil {
			return fmt.Errorf("count the withdrawn runs of replay %d: %w", order.ID, err)
		}
		return nil
	})
	return next, err
}

// withdrawn are the runs whose jobs were deleted, or which had none.
type withdrawn struct {
	keys   [][16]byte
	kinds  []string
	lastID int64 // of a job
}

// withdrawSQL deletes jobs that have not started. A worker that is fetching a
// job has locked it, so that job stays. Jobs are read by id, from the first
// that can belong to the order. A search by their arguments would read all jobs
// for every page.
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

func withdrawJobs(ctx context.Context, tx pgx.Tx, order Order, after int64) (w withdrawn, err error) {
	var (
		kind string
		key  [16]byte
	)
	err = query.Each(ctx, tx, "delete jobs", []any{&w.lastID, &kind, &key}, func() error {
		w.keys, w.kinds = append(w.keys, key), append(w.kinds, kind)
		return nil
	}, withdrawSQL, order.ID, max(after, order.jobsAfter), pageRuns)
	return w, err
}

// withdrawParked finds the parked runs of an order.
func withdrawParked(ctx context.Context, tx pgx.Tx, order Order) (w withdrawn, err error) {
	var (
		kind string
		key  [16]byte
	)
	err = query.Each(ctx, tx, "find parked runs", []any{&key, &kind}, func() error {
		w.keys, w.kinds = append(w.keys, key), append(w.kinds, kind)
		return nil
	}, `SELECT event_key, job_kind FROM lumin.runs WHERE replay_id = $1 AND state = 'parked' FOR UPDATE SKIP LOCKED`, order.ID)
	return w, err
}

// These statements restore the state that a run had before the order. They
// delete runs that the order created.
const (
	restoreRunsSQL = `
UPDATE lumin.runs r
SET state = $4, job_id = NULL, finished_at = now(), error = CASE WHEN $4 <> 'succeeded' THEN r.error END
FROM unnest($2::uuid[], $3::text[]) AS w (event_key, job_kind)
WHERE r.event_key = w.event_key AND r.job_kind = w.job_kind AND r.replay_id = $1 AND r.state IN ('pending', 'parked')`

	removeRunsSQL = `
DELETE FROM lumin.runs r
USING unnest($2::uuid[], $3::text[]) AS w (event_key, job_kind)
WHERE r.event_key = w.event_key AND r.job_kind = w.job_kind AND r.replay_id = $1 AND r.state IN ('pending', 'parked')`
)

func restoreRuns(ctx context.Context, tx pgx.Tx, order Order, jobs withdrawn) (runs int64, err error) {
	if len(jobs.keys) == 0 {
		return 0, nil
	}
	sql, args := restoreRunsSQL, []any{order.ID, jobs.keys, jobs.kinds}
	if state := order.Filter.Status.RunState(); state != "" {
		args = append(args, state)
	} else {
		sql = removeRunsSQL
	}
	tag, err := tx.Exec(ctx, sql, args...)
	return tag.RowsAffected(), err
}
