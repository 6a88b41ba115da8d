package store

import (
	"context"
	"fmt"
)

// StartReplay marks an order as being carried out, with how many runs match it
// now, or says again how far it is.
func (s *Store) StartReplay(ctx context.Context, id int64) (Replay, error) {
	order, err := s.Replay(ctx, id)
	if err != nil || order.Planned != nil || (order.State != "ordered" && order.State != "running") || order.Validate() != nil {
		return order, err
	}
	plan, err := s.PlanReplay(ctx, order.Filter)
	if err != nil {
		return order, err
	}
	var planned int64
	for _, p := range plan {
		planned += p.Runs
	}
	_, err = s.pool.Exec(ctx, `
		UPDATE lumin.replays
		SET state = 'running', started_at = coalesce(started_at, now()), planned = coalesce(planned, $2),
		    jobs_after = coalesce(jobs_after, (SELECT max(id) FROM lumin.river_job), 0)
		WHERE id = $1 AND state IN ('ordered', 'running')`, id, planned)
	if err != nil {
		return order, fmt.Errorf("start replay %d: %w", id, err)
	}
	return s.Replay(ctx, id)
}

// Validate tells why an order cannot be carried out by any program. It may have
// been placed by hand in SQL, so nothing has been looked at before.
func (r Replay) Validate() error { return NewReplay{Filter: r.Filter, Rate: r.Rate}.Validate() }

// KindsAtWork are the job types that programs know which work at present, and that
// have shown it in the last minute.
func (s *Store) KindsAtWork(ctx context.Context) ([]string, error) {
	var kinds []string
	err := s.pool.QueryRow(ctx, `
		SELECT ARRAY(SELECT DISTINCT k FROM lumin.programs p, unnest(p.job_kinds) k
		             WHERE p.role <> 'ingest' AND p.last_seen >= now() - make_interval(secs => $1) ORDER BY k)`,
		ProgramSeenWithin.Seconds()).Scan(&kinds)
	if err != nil {
		return nil, fmt.Errorf("look which job types are at work: %w", err)
	}
	return kinds, nil
}

// EndReplay ends an order that cannot be carried out: state is refused, or failed
// after it has begun.
func (s *Store) EndReplay(ctx context.Context, id int64, state, why string) error {
	_, err := s.pool.Exec(ctx, `
		UPDATE lumin.replays SET state = $2, error = $3, finished_at = now()
		WHERE id = $1 AND state IN ('ordered', 'running')`, id, state, why)
	if err != nil {
		return fmt.Errorf("end replay %d: %w", id, err)
	}
	return nil
}

// FinishReplay marks an order done once nothing is left to enqueue and every run
// of it is settled, and tells whether it is over.
func (s *Store) FinishReplay(ctx context.Context, id int64) (over bool, err error) {
	err = s.pool.QueryRow(ctx, `
		WITH done AS (
		    UPDATE lumin.replays o SET state = 'done', finished_at = now()
		    WHERE o.id = $1 AND o.state = 'running' AND o.enqueued_at IS NOT NULL
		      AND NOT EXISTS (SELECT FROM lumin.runs r WHERE r.replay_id = $1 AND r.replay_id > 0 AND r.state = 'pending')
		    RETURNING o.id
		)
		SELECT EXISTS (SELECT FROM done) OR EXISTS (SELECT FROM lumin.replays WHERE id = $1 AND finished_at IS NOT NULL)`, id).Scan(&over)
	if err != nil {
		return false, fmt.Errorf("finish replay %d: %w", id, err)
	}
	return over, nil
}

// RequeueReplays gives a job to every open order that has none, such as one whose
// job was deleted from outside, and returns how many.
func (s *Store) RequeueReplays(ctx context.Context) (n int, err error) {
	tag, err := s.pool.Exec(ctx, `
		INSERT INTO lumin.river_job (args, kind, max_attempts, queue)
		SELECT jsonb_build_object('order_id', o.id), 'lumin_replay', 100, 'lumin'
		FROM lumin.replays o
		WHERE o.finished_at IS NULL AND NOT EXISTS (
		    SELECT FROM lumin.river_job j
		    WHERE j.kind = 'lumin_replay' AND j.args ->> 'order_id' = o.id::text
		      AND j.state IN ('available', 'pending', 'retryable', 'running', 'scheduled'))`)
	if err != nil {
		return 0, fmt.Errorf("look for replay orders without a job: %w", err)
	}
	return int(tag.RowsAffected()), nil
}
