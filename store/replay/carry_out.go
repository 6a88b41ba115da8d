package replay

import (
	"context"
	"fmt"
)

// Start marks an order as running and stores how many runs match it now, counted
// like a [Store.Plan]. For an order that has started, it returns the order and its
// progress.
func (s *Store) Start(ctx context.Context, id int64) (Order, error) {
	order, err := s.Get(ctx, id)
	if err != nil || order.Planned != nil || (order.State != "ordered" && order.State != "running") || order.Validate() != nil {
		return order, err
	}
	plan, err := s.Plan(ctx, order.Filter)
	if err != nil {
		return order, err
	}
	_, err = s.pool.Exec(ctx, `
		UPDATE lumin.replays
		SET state = 'running', started_at = coalesce(started_at, now()), planned = $2, planned_exactly = $3,
		    jobs_after = coalesce(jobs_after, (SELECT max(id) FROM lumin.river_job), 0)
		WHERE id = $1 AND state IN ('ordered', 'running') AND planned IS NULL`, id, plan.Runs(), plan.Exact)
	if err != nil {
		return order, fmt.Errorf("start replay %d: %w", id, err)
	}
	return s.Get(ctx, id)
}

// Finish marks an order as done if all matching runs are enqueued and have
// settled. It reports whether the order has ended.
func (s *Store) Finish(ctx context.Context, id int64) (finished bool, err error) {
	err = s.pool.QueryRow(ctx, `
		WITH done AS (
		    UPDATE lumin.replays o SET state = 'done', finished_at = now()
		    WHERE o.id = $1 AND o.state = 'running' AND o.enqueued_at IS NOT NULL
		      AND NOT EXISTS (SELECT FROM lumin.runs r WHERE r.replay_id = $1 AND r.replay_id > 0 AND r.state IN ('pending', 'parked'))
		    RETURNING o.id
		)
		SELECT EXISTS (SELECT FROM done) OR EXISTS (SELECT FROM lumin.replays WHERE id = $1 AND finished_at IS NOT NULL)`, id).Scan(&finished)
	if err != nil {
		return false, fmt.Errorf("finish replay %d: %w", id, err)
	}
	return finished, nil
}

// End ends an order that cannot be carried out. The state is refused, or failed
// if the order has started.
func (s *Store) End(ctx context.Context, id int64, state, why string) error {
	_, err := s.pool.Exec(ctx, `
		UPDATE lumin.replays SET state = $2, error = $3, finished_at = now()
		WHERE id = $1 AND state IN ('ordered', 'running')`, id, state, why)
	if err != nil {
		return fmt.Errorf("end replay %d: %w", id, err)
	}
	return nil
}

// Requeue gives a new job to every open order whose job is gone, for example
// because it was deleted. It returns the number of these orders.
func (s *Store) Requeue(ctx context.Context) (n int, err error) {
	tag, err := s.pool.Exec(ctx, `
		INSERT INTO lumin.river_job (args, kind, max_attempts, queue)
		SELECT jsonb_build_object('order_id', o.id), 'lumin_replay', 100, 'lumin'
		FROM lumin.replays o
		WHERE o.finished_at IS NULL AND NOT EXISTS (
		    SELECT FROM lumin.river_job j
		    WHERE j.kind = 'lumin_replay' AND j.args ->> 'order_id' = o.id::text
		      AND j.state IN ('available', 'pending', 'retryable', 'running', 'scheduled'))`)
	if err != nil {
		return 0, fmt.Errorf("find replay orders without a job: %w", err)
	}
	return int(tag.RowsAffected()), nil
}
