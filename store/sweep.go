package store

import (
	"context"
	"fmt"
	"time"
)

// The trigger on River's table skips a run that somebody holds; those are found
// by their job. finalized_at is another machine's clock, hence the wide window.
const sweepFinalizedSQL = `
SELECT count(*) FROM (
    SELECT lumin.settle_failure(r.event_key, r.job_kind, r.replay_id, j.id,
               CASE j.state::text WHEN 'cancelled' THEN 'cancelled' ELSE 'failed' END, j.attempt, j.errors) AS settled
    FROM lumin.river_job j
    CROSS JOIN LATERAL lumin.run_of(j.args) w
    JOIN lumin.runs r ON r.event_key = w.event_key AND r.job_kind = j.kind AND r.replay_id = w.replay_id
    WHERE j.state IN ('discarded', 'cancelled') AND j.finalized_at > now() - interval '1 hour'
      AND r.state = 'pending'
) s WHERE settled`

// sweepPage bounds the runs that one sweep looks at for a missing job.
const sweepPage = 5000

// A pending run without a job that could still work on it would wait for ever.
// Runs younger than a minute are left alone: River may be finishing their job.
// A page ends between two times, because many runs may have been put to pending
// at the same one. OFFSET 0 keeps the search for a job a look into the index of
// arguments: as a join it could come to compare each run with each job.
const sweepOrphansSQL = `
WITH page AS MATERIALIZED (
    SELECT r.event_key, r.job_kind, r.replay_id, r.attempts, r.pending_since
    FROM lumin.runs r
    WHERE r.state = 'pending' AND r.pending_since > $1 AND r.pending_since < now() - interval '1 minute'
    ORDER BY r.pending_since FETCH FIRST $2 ROWS WITH TIES
), settled AS (
    SELECT lumin.settle_failure(p.event_key, p.job_kind, p.replay_id, NULL, 'failed', p.attempts,
               ARRAY[jsonb_build_object('at', now(), 'attempt', p.attempts, 'error', 'its job is gone from the queue', 'trace', '')]) AS ok
    FROM page p
    WHERE NOT EXISTS (
        SELECT FROM lumin.river_job j
        WHERE j.args @> jsonb_build_object('event_key', p.event_key::text, 'replay_id', p.replay_id)
          AND j.kind = p.job_kind AND j.state NOT IN ('completed', 'discarded', 'cancelled') OFFSET 0)
)
SELECT (SELECT count(*) FROM settled WHERE ok), (SELECT count(*) FROM page),
       (SELECT coalesce(max(pending_since), $1) FROM page)`

// Sweep settles the final failures that were missed when they happened, and
// pending runs whose job is gone. It looks at a bounded number of runs that were
// put to pending after the given time, and returns where the next sweep goes on:
// the zero time when it has seen them all.
func (s *Store) Sweep(ctx context.Context, after time.Time) (settled int, next time.Time, err error) {
	return s.sweep(ctx, after, sweepPage)
}

func (s *Store) sweep(ctx context.Context, after time.Time, page int) (settled int, next time.Time, err error) {
	var late, orphans, looked int
	if err := s.pool.QueryRow(ctx, sweepFinalizedSQL).Scan(&late); err != nil {
		return 0, after, fmt.Errorf("sweep finalized jobs: %w", err)
	}
	if err := s.pool.QueryRow(ctx, sweepOrphansSQL, after, page).Scan(&orphans, &looked, &next); err != nil {
		return late, after, fmt.Errorf("sweep pending runs: %w", err)
	}
	if looked < page {
		next = time.Time{}
	}
	return late + orphans, next, nil
}
