WITH page AS (
    SELECT j.id, r.event_key, r.job_kind
    FROM lumin.river_job j
    JOIN lumin.runs r ON r.event_key = lumin.run_key(j.args) AND r.job_kind = j.kind AND r.replay_id = lumin.run_replay(j.args)
    JOIN lumin.events e ON e.id = r.event_id
    WHERE j.state IN ('retryable', 'scheduled')
      AND r.state = 'pending'
      AND coalesce(j.attempted_at, j.created_at) <= @as_of::timestamptz
      AND (cardinality(@kinds::text[]) = 0 OR r.job_kind = ANY (@kinds))
      AND (cardinality(@errors::text[]) = 0 OR coalesce(r.error_fingerprint, 'none') = ANY (@errors))
      AND r.event_key = ANY (ARRAY(SELECT event_key FROM lumin.events WHERE id = ANY (@ids::bigint[])))
      AND r.event_key = ANY (ARRAY(SELECT event_key FROM lumin.events WHERE signature_request_id = ANY (@requests)))
      AND EXISTS (
          SELECT FROM lumin.events c
          WHERE c.event_key = r.event_key
            AND (cardinality(@sources::text[]) = 0 OR c.source = ANY (@sources))
            AND (@received_since::timestamptz IS NULL OR c.received_at >= @received_since)
            AND (@received_until::timestamptz IS NULL OR c.received_at < @received_until)
      )
      AND (cardinality(@types::text[]) = 0 OR e.event_type = ANY (@types))
      AND (cardinality(@requests::text[]) = 0 OR e.signature_request_id = ANY (@requests))
      AND (@event_since::timestamptz IS NULL OR e.event_time >= @event_since)
      AND (@event_until::timestamptz IS NULL OR e.event_time < @event_until)
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
