SELECT p.event_key, p.job_kind, lumin.dismiss_failure(p.event_key, p.job_kind, @reason, coalesce(nullif(@by, ''), current_user))
FROM (
    SELECT r.event_key, r.job_kind
    FROM lumin.runs r
    WHERE r.state = 'failed'
      AND r.finished_at <= @as_of::timestamptz
      AND (cardinality(@kinds::text[]) = 0 OR r.job_kind = ANY (@kinds))
      AND (cardinality(@errors::text[]) = 0 OR coalesce(r.error_fingerprint, 'none') = ANY (@errors))
      AND (r.event_key, r.job_kind) > (@after::uuid, @after_kind::text)
    ORDER BY r.event_key, r.job_kind LIMIT @limit OFFSET 0
) p
