WITH page AS (
    SELECT j.id, r.event_key, r.job_kind
    FROM lumin.river_job j
    JOIN lumin.runs r ON r.event_key = lumin.run_key(j.args) AND r.job_kind = j.kind AND r.replay_id = lumin.run_replay(j.args)
    WHERE j.state IN ('retryable', 'scheduled')
      AND r.state = 'pending'
      AND coalesce(j.attempted_at, j.created_at) <= @as_of::timestamptz
      AND (cardinality(@kinds::text[]) = 0 OR r.job_kind = ANY (@kinds))
      AND (cardinality(@errors::text[]) = 0 OR coalesce(r.error_fingerprint, 'none') = ANY (@errors))
      AND r.replay_id < @order
      AND j.id > @after
      AND r.job_kind = ANY (@known::text[])
    ORDER BY j.id LIMIT @limit
    FOR UPDATE OF j, r SKIP LOCKED
), moved AS (
    UPDATE lumin.runs r SET replay_id = @order, job_id = p.id
    FROM page p WHERE r.event_key = p.event_key AND r.job_kind = p.job_kind
)
UPDATE lumin.river_job j
SET state = 'available', scheduled_at = now(), args = jsonb_set(j.args, '{replay_id}', to_jsonb(@order::bigint))
FROM page p WHERE j.id = p.id
RETURNING j.id, j.queue
