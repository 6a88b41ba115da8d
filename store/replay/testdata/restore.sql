SELECT p.event_key, p.job_kind, lumin.restore_failure(p.event_key, p.job_kind)
FROM (
    SELECT r.event_key, r.job_kind
    FROM lumin.dismissals d
    JOIN lumin.runs r ON r.event_key = d.event_key AND r.job_kind = d.job_kind
    JOIN lumin.events e ON e.id = r.event_id
    WHERE r.state = 'dismissed'
      AND e.payload_removed_at IS NULL
      AND d.dismissed_at <= @as_of::timestamptz
      AND (cardinality(@kinds::text[]) = 0 OR r.job_kind = ANY (@kinds))
      AND (cardinality(@errors::text[]) = 0 OR coalesce(r.error_fingerprint, 'none') = ANY (@errors))
      AND (cardinality(@types::text[]) = 0 OR e.event_type = ANY (@types))
      AND (cardinality(@requests::text[]) = 0 OR e.signature_request_id = ANY (@requests))
      AND (@event_since::timestamptz IS NULL OR e.event_time >= @event_since)
      AND (@event_until::timestamptz IS NULL OR e.event_time < @event_until)
      AND (r.event_key, r.job_kind) > (@after::uuid, @after_kind::text)
    ORDER BY r.event_key, r.job_kind LIMIT @limit OFFSET 0
) p
