SELECT DISTINCT r.job_kind
FROM lumin.river_job j
JOIN lumin.runs r ON r.event_key = lumin.run_key(j.args) AND r.job_kind = j.kind AND r.replay_id = lumin.run_replay(j.args)
WHERE j.state IN ('retryable', 'scheduled')
  AND r.state = 'pending'
  AND coalesce(j.attempted_at, j.created_at) <= @as_of::timestamptz
  AND (cardinality(@kinds::text[]) = 0 OR r.job_kind = ANY (@kinds))
  AND (cardinality(@errors::text[]) = 0 OR coalesce(r.error_fingerprint, 'none') = ANY (@errors))
  AND r.replay_id < @order
  AND j.id > @after
  AND j.id <= @until
