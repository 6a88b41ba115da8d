-- The functions as in migration 0003, and no log.
CREATE OR REPLACE FUNCTION lumin.replay(
    status                text DEFAULT NULL,
    job_kinds             text[] DEFAULT '{}',
    event_types           text[] DEFAULT '{}',
    sources               text[] DEFAULT '{}',
    signature_request_ids text[] DEFAULT '{}',
    event_ids             bigint[] DEFAULT '{}',
    error_fingerprints    text[] DEFAULT '{}',
    received_since        timestamptz DEFAULT NULL,
    received_until        timestamptz DEFAULT NULL,
    event_since           timestamptz DEFAULT NULL,
    event_until           timestamptz DEFAULT NULL,
    rate                  integer DEFAULT NULL,
    reason                text DEFAULT ''
) RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO lumin.replays (status, job_kinds, event_types, sources, signature_request_ids, event_ids, error_fingerprints,
                               received_since, received_until, event_since, event_until, rate, reason)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
    RETURNING id
$$;

CREATE OR REPLACE FUNCTION lumin.erase(signature_request_ids text[], reason text) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO lumin.erasures (subject, signature_request_ids, event_ids, last_event_id, reason)
    SELECT 'signature_request', $1,
           ARRAY(SELECT e.decoded_from FROM lumin.events e WHERE e.signature_request_id = ANY ($1) AND e.decoded_from IS NOT NULL
                 UNION
                 SELECT e.id FROM lumin.events e, unnest($1) AS w (id)
                 WHERE e.signature_request_id IS NULL AND position(convert_to(w.id, 'UTF8') IN e.payload) > 0),
           coalesce((SELECT max(id) FROM lumin.events), 0), $2
    RETURNING id
$$;

DROP TABLE lumin.audit_log;
