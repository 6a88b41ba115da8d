WITH p AS (
    SELECT r.job_kind AS kind, count(*) AS n, min(r.event_id) AS first_id, max(r.event_id) AS last_id
    FROM lumin.river_job j
    JOIN lumin.runs r ON r.event_key = lumin.run_key(j.args) AND r.job_kind = j.kind AND r.replay_id = lumin.run_replay(j.args)
    WHERE j.state IN ('retryable', 'scheduled')
      AND r.state = 'pending'
      AND coalesce(j.attempted_at, j.created_at) <= @as_of::timestamptz
      AND (cardinality(@kinds::text[]) = 0 OR r.job_kind = ANY (@kinds))
      AND (cardinality(@errors::text[]) = 0 OR coalesce(r.error_fingerprint, 'none') = ANY (@errors))
    GROUP BY 1
)
SELECT p.kind, p.n, (SELECT received_at FROM lumin.events WHERE id = p.first_id),
       (SELECT received_at FROM lumin.events WHERE id = p.last_id)
FROM p ORDER BY 1
