WITH page AS (
    SELECT j.id
    FROM lumin.river_job j
    JOIN lumin.runs r ON r.event_key = lumin.run_key(j.args) AND r.job_kind = j.kind AND r.replay_id = lumin.run_replay(j.args)
    WHERE j.state IN ('retryable', 'scheduled')
      AND r.state = 'pending'
      AND coalesce(j.attempted_at, j.created_at) <= @as_of::timestamptz
      AND (cardinality(@kinds::text[]) = 0 OR r.job_kind = ANY (@kinds))
      AND (cardinality(@errors::text[]) = 0 OR coalesce(r.error_fingerprint, 'none') = ANY (@errors))
      AND j.id > @after
    ORDER BY j.id LIMIT @limit
    FOR UPDATE OF j, r SKIP LOCKED
), cancelled AS (
    UPDATE lumin.river_job j
    SET state = 'cancelled', finalized_at = now(), metadata = jsonb_set(j.metadata, '{cancel_attempted_at}', to_jsonb(now()))
    FROM page p WHERE j.id = p.id
    RETURNING j.id
)
SELECT id FROM cancelled ORDER BY id
