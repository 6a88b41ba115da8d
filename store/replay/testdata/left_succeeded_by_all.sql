SELECT DISTINCT r.job_kind
FROM lumin.runs r
JOIN lumin.events e ON e.id = r.event_id
WHERE r.state = 'succeeded'
  AND e.payload_removed_at IS NULL
  AND r.finished_at <= @as_of::timestamptz
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
  AND r.event_key >= @after::uuid
  AND r.event_key < @until::uuid
