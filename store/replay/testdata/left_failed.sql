SELECT DISTINCT r.job_kind
FROM lumin.runs r
WHERE r.state = 'failed'
  AND r.finished_at <= @as_of::timestamptz
  AND (cardinality(@kinds::text[]) = 0 OR r.job_kind = ANY (@kinds))
  AND (cardinality(@errors::text[]) = 0 OR coalesce(r.error_fingerprint, 'none') = ANY (@errors))
  AND r.replay_id < @order
  AND r.event_key >= @after::uuid
  AND r.event_key < @until::uuid
