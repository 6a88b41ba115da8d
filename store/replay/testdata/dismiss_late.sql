WITH held AS MATERIALIZED (
    SELECT e.event_key, t.kind, e.id
    FROM lumin.events e
    JOIN lumin.job_types t ON cardinality(@kinds::text[]) = 0 OR t.kind = ANY (@kinds)
    WHERE e.signature_request_id IS NOT NULL
      AND e.late
      AND e.received_at <= @as_of::timestamptz
      AND (t.events = '{}' OR e.event_type = ANY (t.events))
      AND CASE WHEN e.source = 'recovered' THEN t.recovered ELSE t.sources = '{}' OR e.source = ANY (t.sources) END
      AND e.payload_removed_at IS NULL
      AND (cardinality(@types::text[]) = 0 OR e.event_type = ANY (@types))
      AND (cardinality(@requests::text[]) = 0 OR e.signature_request_id = ANY (@requests))
      AND (@event_since::timestamptz IS NULL OR e.event_time >= @event_since)
      AND (@event_until::timestamptz IS NULL OR e.event_time < @event_until)
      AND NOT EXISTS (SELECT FROM lumin.runs r WHERE r.event_key = e.event_key AND r.job_kind = t.kind OFFSET 0)
      AND e.id >= @after
    ORDER BY e.id, t.kind LIMIT @limit
    FOR KEY SHARE OF e SKIP LOCKED
), created AS (
    INSERT INTO lumin.runs (event_key, job_kind, event_id, state, finished_at)
    SELECT event_key, kind, id, 'dismissed', now() FROM held ORDER BY event_key, kind COLLATE "C", id
    ON CONFLICT (event_key, job_kind) DO NOTHING
    RETURNING event_key, job_kind
), noted AS (
    INSERT INTO lumin.dismissals AS d (event_key, job_kind, reason, dismissed_by)
    SELECT event_key, job_kind, @reason, coalesce(nullif(@by, ''), current_user) FROM created ORDER BY event_key, job_kind COLLATE "C"
    ON CONFLICT (event_key, job_kind) DO UPDATE
    SET reason = excluded.reason, dismissed_by = excluded.dismissed_by, dismissed_at = excluded.dismissed_at
)
SELECT (SELECT count(*) FROM held), (SELECT count(*) FROM created), (SELECT coalesce(max(id), 0) FROM held)
