package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

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

// WithdrawPage restores runs of a cancelled order whose job has not started: all
// parked ones, which have no job, and those of a page of jobs after the given id. It
// returns the id of the last job, or 0 when it has checked all jobs. Then the order is
// finished, unless a run was locked or got a job meanwhile. The caller must then begin
// again, a little later.
func (s *Store) WithdrawPage(ctx context.Context, order Order, after int64) (next int64, finished bool, err error) {
	err = pgx.BeginTxFunc(ctx, s.pool, query.ReadCommitted, func(tx pgx.Tx) (err error) {
		var restored int64
		next, finished = 0, true
		// Retrying runs wait for an attempt, as they did before the order.
		// Decoded events are kept.
		if order.Filter.Status != Retrying && order.Filter.Status != Unrecognized {
			if restored, next, err = withdrawRuns(ctx, tx, order, after); err != nil {
				return fmt.Errorf("withdraw runs of replay %d: %w", order.ID, err)
			}
			finished = false
			if next == 0 {
				if err := tx.QueryRow(ctx, withdrawnSQL, order.ID).Scan(&finished); err != nil {
					return fmt.Errorf("find runs of replay %d: %w", order.ID, err)
				}
			}
		}
		_, err = tx.Exec(ctx, `
			UPDATE lumin.replays SET withdrawn = withdrawn + $2, finished_at = CASE WHEN $3 THEN coalesce(finished_at, now()) END
			WHERE id = $1 AND state = 'cancelled'`, order.ID, restored, finished)
		if err != nil {
			return fmt.Errorf("count the withdrawn runs of replay %d: %w", order.ID, err)
		}
		return nil
	})
	return next, finished, err
}

// withdrawRuns withdraws parked runs before jobs. A parked run that gets a job
// meanwhile is found by its job, which has a higher id than those before.
func withdrawRuns(ctx context.Context, tx pgx.Tx, order Order, after int64) (restored, next int64, err error) {
	var w withdrawn
	if err := w.parked(ctx, tx, order); err != nil {
		return 0, 0, err
	}
	if err := w.jobs(ctx, tx, order, after); err != nil {
		return 0, 0, err
	}
	restored, err = restoreRuns(ctx, tx, order, w)
	return restored, w.lastID, err
}

// withdrawnSQL reports whether no run of an order is left that a cancel restores. Runs
// whose job is running go on, and the sweep settles those whose job is gone.
const withdrawnSQL = `
SELECT NOT EXISTS (
    SELECT FROM lumin.runs r
    WHERE r.replay_id = $1 AND r.replay_id > 0
      AND (r.state = 'parked' OR r.state = 'pending' AND EXISTS (
          SELECT FROM lumin.river_job j
          WHERE j.id = r.job_id AND j.state IN ('available', 'pending', 'retryable', 'scheduled')
            AND j.args -> 'replay_id' = to_jsonb($1::bigint))))`

// withdrawn are the runs whose jobs were deleted, or which had none.
type withdrawn struct {
	keys   [][16]byte
	kinds  []string
	lastID int64 // of a job

	// What the runs were before the order. Nil: see restoreRunsSQL.
	replayIDs, jobIDs []*int64
	finished          []*time.Time
}

// beforeKey is the key in the metadata of a job that a page inserts: what the run was
// before, as beforeOrder.
const beforeKey = "lumin:before"

// beforeOrder is what a run was before an order took it.
type beforeOrder struct {
	ReplayID   *int64     `json:"replay_id"`
	JobID      *int64     `json:"job_id"`
	FinishedAt *time.Time `json:"finished_at"`
}

// add adds a run. metadata is that of beforeKey, or nil.
//
// A run whose job was never fetched gets back the number of its replay, so that an
// older order, which may still be open, takes it. Otherwise it keeps the number of
// the cancelled order. A program that has fetched the job and seems to be gone may
// still try to work the run. If the number of the next order were lower, the run
// could take effect in both.
func (w *withdrawn) add(order Order, key [16]byte, kind string, metadata []byte, fetched bool) {
	var before beforeOrder
	if json.Unmarshal(metadata, &before) != nil { // an older program inserted the job
		before = beforeOrder{}
	}
	if fetched || before.ReplayID == nil || *before.ReplayID >= order.ID {
		before.ReplayID, before.JobID = nil, nil
	}
	w.keys, w.kinds = append(w.keys, key), append(w.kinds, kind)
	w.replayIDs, w.jobIDs, w.finished = append(w.replayIDs, before.ReplayID), append(w.jobIDs, before.JobID), append(w.finished, before.FinishedAt)
}

// withdrawSQL deletes jobs that have not started. A worker that is fetching a
// job has locked it, so that job stays. Jobs are read by id, from the first
// that can belong to the order. A search by their arguments would read all jobs
// for every page.
const withdrawSQL = `
WITH page AS (
    SELECT j.id, j.kind, lumin.run_key(j.args) AS event_key, j.metadata -> '` + beforeKey + `' AS before,
           j.attempted_at IS NOT NULL OR j.attempt > 0 AS fetched
    FROM lumin.river_job j
    WHERE j.id > $2 AND j.state IN ('available', 'pending', 'retryable', 'scheduled')
      AND j.args ? 'event_key' AND j.args -> 'replay_id' = to_jsonb($1::bigint)
    ORDER BY j.id LIMIT $3
    FOR UPDATE OF j SKIP LOCKED
), gone AS (
    DELETE FROM lumin.river_job j USING page p WHERE j.id = p.id
)
SELECT id, kind, event_key, before, fetched FROM page`

// jobs deletes jobs of the order.
func (w *withdrawn) jobs(ctx context.Context, tx pgx.Tx, order Order, after int64) error {
	var (
		id       int64
		kind     string
		key      [16]byte
		metadata []byte
		fetched  bool
	)
	return query.Each(ctx, tx, "delete jobs", []any{&id, &kind, &key, &metadata, &fetched}, func() error {
		w.lastID = max(w.lastID, id)
		w.add(order, key, kind, metadata, fetched)
		return nil
	}, withdrawSQL, order.ID, max(after, order.jobsAfter), pageRuns)
}

// parkedSQL finds parked runs, and the job that has parked each, unless River has
// removed it.
const parkedSQL = `
SELECT r.event_key, r.job_kind, j.metadata -> '` + beforeKey + `'
FROM lumin.runs r
LEFT JOIN lumin.river_job j ON j.id = r.job_id AND j.args -> 'replay_id' = to_jsonb($1::bigint)
WHERE r.replay_id = $1 AND r.replay_id > 0 AND r.state = 'parked'
FOR UPDATE OF r SKIP LOCKED`

// parked finds the parked runs of the order.
func (w *withdrawn) parked(ctx context.Context, tx pgx.Tx, order Order) error {
	var (
		kind     string
		key      [16]byte
		metadata []byte
	)
	return query.Each(ctx, tx, "find parked runs", []any{&key, &kind, &metadata}, func() error {
		w.add(order, key, kind, metadata, true)
		return nil
	}, parkedSQL, order.ID)
}

// These statements restore the state that a run had before the order. They
// delete runs that the order created. If it is not known when a run had ended, it is
// when it last failed.
const (
	restoreRunsSQL = `
UPDATE lumin.runs r
SET state = $4, replay_id = coalesce(w.replay_id, r.replay_id), job_id = w.job_id,
    finished_at = coalesce(w.finished_at, (
        SELECT max(f.failed_at) FROM lumin.failures f
        WHERE f.event_key = r.event_key AND f.job_kind = r.job_kind AND f.state = $4 AND f.replay_id < $1), now()),
    error = CASE WHEN $4 <> 'succeeded' THEN r.error END
FROM unnest($2::uuid[], $3::text[], $5::bigint[], $6::bigint[], $7::timestamptz[]) AS w (event_key, job_kind, replay_id, job_id, finished_at)
WHERE r.event_key = w.event_key AND r.job_kind = w.job_kind AND r.replay_id = $1 AND r.state IN ('pending', 'parked')`

	removeRunsSQL = `
DELETE FROM lumin.runs r
USING unnest($2::uuid[], $3::text[]) AS w (event_key, job_kind)
WHERE r.event_key = w.event_key AND r.job_kind = w.job_kind AND r.replay_id = $1 AND r.state IN ('pending', 'parked')`
)

func restoreRuns(ctx context.Context, tx pgx.Tx, order Order, w withdrawn) (runs int64, err error) {
	if len(w.keys) == 0 {
		return 0, nil
	}
	sql, args := restoreRunsSQL, []any{order.ID, w.keys, w.kinds}
	if state := order.Filter.Status.RunState(); state != "" {
		args = append(args, state, w.replayIDs, w.jobIDs, w.finished)
	} else {
		sql = removeRunsSQL
	}
	tag, err := tx.Exec(ctx, sql, args...)
	return tag.RowsAffected(), err
}
