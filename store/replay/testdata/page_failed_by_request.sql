WITH page AS (
    SELECT r.ctid, r.event_key, r.job_kind, r.replay_id, r.job_id, r.finished_at
    FROM lumin.runs r
    JOIN lumin.events e ON e.id = r.event_id
    WHERE r.state = 'failed'
      AND r.finished_at <= @as_of::timestamptz
      AND (cardinality(@kinds::text[]) = 0 OR r.job_kind = ANY (@kinds))
      AND (cardinality(@errors::text[]) = 0 OR coalesce(r.error_fingerprint, 'none') = ANY (@errors))
      AND r.event_key = ANY (ARRAY(SELECT event_key FROM lumin.events WHERE signature_request_id = ANY (@requests)))
      AND (cardinality(@types::text[]) = 0 OR e.event_type = ANY (@types))
      AND (cardinality(@requests::text[]) = 0 OR e.signature_request_id = ANY (@requests))
      AND (@event_since::timestamptz IS NULL OR e.event_time >= @event_since)
      AND (@event_until::timestamptz IS NULL OR e.event_time < @event_until)
      AND r.replay_id < @order
      AND r.event_key >= @after::uuid
      AND r.event_key < @until::uuid
      AND r.job_kind = ANY (@known::text[])
    ORDER BY r.event_key, r.job_kind LIMIT @limit
    FOR UPDATE OF r SKIP LOCKED
), updated AS (
    UPDATE lumin.runs r
    SET state = 'pending', replay_id = @order, job_id = nextval('lumin.river_job_id_seq'), pending_since = now(), finished_at = NULL,
        rerun = r.rerun + (r.state = 'succeeded')::int
    -- The rows are locked, so their ctid cannot change. A join would scan the
    -- whole table.
    WHERE r.ctid = ANY (ARRAY(SELECT ctid FROM page))
    RETURNING r.event_key, r.job_kind, r.job_id
), taken AS MATERIALIZED (
    -- A row that changed just before it was locked is in page only, and is not taken.
    -- A full join is never a nested loop, which the planner would choose if it
    -- expected few rows.
    SELECT u.event_key, u.job_kind, u.job_id, jsonb_build_object('lumin:before', jsonb_build_object(
               'replay_id', p.replay_id, 'job_id', p.job_id, 'finished_at', p.finished_at)) AS metadata
    FROM updated u FULL JOIN page p USING (event_key, job_kind)
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
