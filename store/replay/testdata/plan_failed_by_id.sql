WITH p AS (
    SELECT r.job_kind AS kind, count(*) AS n, min(r.event_id) AS first_id, max(r.event_id) AS last_id
    FROM lumin.runs r
    WHERE r.state = 'failed'
      AND r.finished_at <= @as_of::timestamptz
      AND (cardinality(@kinds::text[]) = 0 OR r.job_kind = ANY (@kinds))
      AND (cardinality(@errors::text[]) = 0 OR coalesce(r.error_fingerprint, 'none') = ANY (@errors))
      AND r.event_key = ANY (ARRAY(SELECT event_key FROM lumin.events WHERE id = ANY (@ids::bigint[])))
    GROUP BY 1
)
SELECT p.kind, p.n, (SELECT received_at FROM lumin.events WHERE id = p.first_id),
       (SELECT received_at FROM lumin.events WHERE id = p.last_id)
FROM p ORDER BY 1
