WITH p AS (
    SELECT r.job_kind AS kind, count(*) AS n, min(r.event_id) AS first_id, max(r.event_id) AS last_id
    FROM lumin.runs r
    JOIN lumin.events e ON e.id = r.event_id
    WHERE r.state = 'cancelled'
      AND e.payload_removed_at IS NOT NULL
      AND r.finished_at <= @as_of::timestamptz
      AND (cardinality(@kinds::text[]) = 0 OR r.job_kind = ANY (@kinds))
      AND (cardinality(@errors::text[]) = 0 OR coalesce(r.error_fingerprint, 'none') = ANY (@errors))
      AND (cardinality(@types::text[]) = 0 OR e.event_type = ANY (@types))
      AND (cardinality(@requests::text[]) = 0 OR e.signature_request_id = ANY (@requests))
      AND (@event_since::timestamptz IS NULL OR e.event_time >= @event_since)
      AND (@event_until::timestamptz IS NULL OR e.event_time < @event_until)
    GROUP BY 1
)
SELECT p.kind, p.n, (SELECT received_at FROM lumin.events WHERE id = p.first_id),
       (SELECT received_at FROM lumin.events WHERE id = p.last_id)
FROM p ORDER BY 1
