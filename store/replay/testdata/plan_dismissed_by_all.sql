WITH p AS (
    SELECT r.job_kind AS kind, count(*) AS n, min(r.event_id) AS first_id, max(r.event_id) AS last_id
    FROM lumin.dismissals d
    JOIN lumin.runs r ON r.event_key = d.event_key AND r.job_kind = d.job_kind
    JOIN lumin.events e ON e.id = r.event_id
    WHERE r.state = 'dismissed'
      AND e.payload_removed_at IS NULL
      AND d.dismissed_at <= @as_of::timestamptz
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
    GROUP BY 1
)
SELECT p.kind, p.n, (SELECT received_at FROM lumin.events WHERE id = p.first_id),
       (SELECT received_at FROM lumin.events WHERE id = p.last_id)
FROM p ORDER BY 1
