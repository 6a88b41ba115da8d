SELECT DISTINCT r.job_kind
FROM lumin.runs r
JOIN lumin.events e ON e.id = r.event_id
WHERE r.state = 'succeeded'
  AND e.payload_removed_at IS NULL
  AND r.finished_at <= @as_of::timestamptz
  AND (cardinality(@kinds::text[]) = 0 OR r.job_kind = ANY (@kinds))
  AND (cardinality(@errors::text[]) = 0 OR coalesce(r.error_fingerprint, 'none') = ANY (@errors))
  AND (cardinality(@types::text[]) = 0 OR e.event_type = ANY (@types))
  AND (cardinality(@requests::text[]) = 0 OR e.signature_request_id = ANY (@requests))
  AND (@event_since::timestamptz IS NULL OR e.event_time >= @event_since)
  AND (@event_until::timestamptz IS NULL OR e.event_time < @event_until)
  AND r.replay_id < @order
  AND r.event_key >= @after::uuid
  AND r.event_key < @until::uuid
