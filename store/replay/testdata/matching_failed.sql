SELECT r.event_key, r.event_id, r.state, r.replay_id
FROM lumin.runs r
WHERE r.state = 'failed'
  AND r.finished_at <= @as_of::timestamptz
  AND (cardinality(@kinds::text[]) = 0 OR r.job_kind = ANY (@kinds))
  AND (cardinality(@errors::text[]) = 0 OR coalesce(r.error_fingerprint, 'none') = ANY (@errors))
ORDER BY r.event_key LIMIT @limit
