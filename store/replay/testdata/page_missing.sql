WITH held AS MATERIALIZED (
    SELECT e.event_key, t.kind, e.id
    FROM lumin.events e
    JOIN lumin.job_types t ON cardinality(@kinds::text[]) = 0 OR t.kind = ANY (@kinds)
    WHERE e.signature_request_id IS NOT NULL
      AND NOT e.late
      AND e.received_at <= @as_of::timestamptz
      AND (t.events = '{}' OR e.event_type = ANY (t.events))
      AND CASE WHEN e.source = 'recovered' THEN t.recovered ELSE t.sources = '{}' OR e.source = ANY (t.sources) END
      AND e.payload_removed_at IS NULL
      AND (cardinality(@types::text[]) = 0 OR e.event_type = ANY (@types))
      AND (cardinality(@requests::text[]) = 0 OR e.signature_request_id = ANY (@requests))
      AND (@event_since::timestamptz IS NULL OR e.event_time >= @event_since)
      AND (@event_until::timestamptz IS NULL OR e.event_time < @event_until)
      AND NOT EXISTS (SELECT FROM lumin.runs r WHERE r.event_key = e.event_key AND r.job_kind = t.kind OFFSET 0)
      AND e.id BETWEEN @first AND @last
      AND t.kind = ANY (@known::text[])
    ORDER BY e.id, t.kind LIMIT @limit
    FOR KEY SHARE OF e SKIP LOCKED
), taken AS (
    INSERT INTO lumin.runs (event_key, job_kind, event_id, replay_id, job_id)
    SELECT event_key, kind, id, @order, nextval('lumin.river_job_id_seq') FROM held ORDER BY event_key, kind COLLATE "C", id
    ON CONFLICT (event_key, job_kind) DO NOTHING
    RETURNING event_key, job_kind, job_id, '{}'::jsonb AS metadata
), jobs AS (
    INSERT INTO lumin.river_job (id, args, kind, max_attempts, priority, queue, metadata)
    SELECT t.job_id, jsonb_build_object('event_key', t.event_key, 'replay_id', @order::bigint), t.job_kind, s.max_attempts, s.priority, s.queue, t.metadata
    FROM taken t
    JOIN unnest(@known::text[], @max_attempts::smallint[], @priorities::smallint[], @queues::text[])
         AS s (kind, max_attempts, priority, queue) ON s.kind = t.job_kind
    ORDER BY t.job_id
    RETURNING queue
)
SELECT (SELECT count(*) FROM jobs),
       (SELECT event_key FROM taken ORDER BY 1 DESC NULLS LAST LIMIT 1),
       (SELECT coalesce(array_agg(DISTINCT queue), '{}') FROM jobs)
