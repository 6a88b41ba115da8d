package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lumin-ingest/internal/query"
)

// The trigger on River's table skips a run that another transaction has locked.
// This statement finds such a run by its job. The window is wide, because the
// clock of another machine sets finalized_at. OFFSET 0: see recordSQL.
const sweepFinalizedSQL = `
SELECT count(*) FROM (
    SELECT lumin.settle_failure(j.event_key, j.kind, j.replay_id, j.id,
               CASE j.state::text WHEN 'cancelled' THEN 'cancelled' ELSE 'failed' END, j.attempt, j.errors) AS settled
    FROM (
        SELECT j.id, j.kind, j.state, j.attempt, j.errors, lumin.run_key(j.args) AS event_key, lumin.run_replay(j.args) AS replay_id
        FROM lumin.river_job j
        WHERE j.state IN ('discarded', 'cancelled') AND j.finalized_at > now() - interval '1 hour' OFFSET 0) j
    CROSS JOIN LATERAL (
        SELECT state, replay_id FROM lumin.runs WHERE event_key = j.event_key AND job_kind = j.kind OFFSET 0) r
    WHERE r.state = 'pending' AND r.replay_id = j.replay_id
) s WHERE settled`

// sweepPage bounds the runs that one sweep checks for a missing job.
const sweepPage = 5000

// A pending run without a live job would wait forever. Runs younger than a
// minute are skipped, because River may be finishing their job. A page ends
// between two times, because many runs may have become pending at the same
// time.
const pendingPageSQL = `
SELECT event_key, job_kind, replay_id, attempts, pending_since
FROM lumin.runs
WHERE state = 'pending' AND pending_since > $1 AND pending_since < now() - interval '1 minute'
ORDER BY pending_since FETCH FIRST $2 ROWS WITH TIES`

// The statement reads all live jobs once. Looking up each run's job in River's
// index of arguments takes longer. It also reads the whole table each time if
// the planner underestimates that index.
const sweepOrphansSQL = `
WITH live AS MATERIALIZED (
    SELECT kind, args ->> 'event_key' AS event_key, args -> 'replay_id' AS replay_id FROM lumin.river_job
    WHERE state IN ('available', 'pending', 'retryable', 'running', 'scheduled')
)
SELECT count(*) FROM (
    SELECT lumin.settle_failure(w.event_key, w.job_kind, w.replay_id, NULL, 'failed', w.attempts,
               ARRAY[jsonb_build_object('at', now(), 'attempt', w.attempts, 'error', 'its job is gone from the queue', 'trace', '')]) AS settled
    FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::integer[]) AS w (event_key, job_kind, replay_id, attempts)
    WHERE NOT EXISTS (
        SELECT FROM live l
        WHERE l.event_key = w.event_key::text AND l.kind = w.job_kind AND l.replay_id = to_jsonb(w.replay_id))
) s WHERE settled`

// Sweep settles final failures that the trigger missed, and pending runs whose
// job is gone. It checks a bounded number of runs that became pending after the
// given time. It returns the start of the next sweep: the zero time if it has
// checked all runs.
func (s *Store) Sweep(ctx context.Context, after time.Time) (settled int, next time.Time, err error) {
	return s.sweep(ctx, after, sweepPage)
}

func (s *Store) sweep(ctx context.Context, after time.Time, page int) (settled int, next time.Time, err error) {
	var late int
	// Both statements are planned for their arguments and the current state of
	// the tables.
	if err := s.pool.QueryRow(ctx, sweepFinalizedSQL, pgx.QueryExecModeCacheDescribe).Scan(&late); err != nil {
		return 0, after, fmt.Errorf("sweep finalized jobs: %w", err)
	}
	var (
		key      [16]byte
		kind     string
		replayID int64
		attempt  int32

		keys      [][16]byte
		kinds     []string
		replayIDs []int64
		attempts  []int32
	)
	err = query.Each(ctx, s.pool, "list pending runs", []any{&key, &kind, &replayID, &attempt, &next}, func() error {
		keys, kinds = append(keys, key), append(kinds, kind)
		replayIDs, attempts = append(replayIDs, replayID), append(attempts, attempt)
		return nil
	}, pendingPageSQL, after, page)
	if err != nil {
		return late, after, err
	}
	if len(keys) < page {
		next = time.Time{}
	}
	if len(keys) == 0 {
		return late, next, nil
	}
	var orphans int
	err = s.pool.QueryRow(ctx, sweepOrphansSQL, pgx.QueryExecModeCacheDescribe, keys, kinds, replayIDs, attempts).Scan(&orphans)
	if err != nil {
		return late, after, fmt.Errorf("sweep pending runs: %w", err)
	}
	return late + orphans, next, nil
}
