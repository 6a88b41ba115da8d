-- The audit log: every change that a person makes through the dashboard, the
-- API, a command or a function of this schema.
CREATE TABLE lumin.audit_log (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           timestamptz NOT NULL DEFAULT now(),
    actor        text        NOT NULL DEFAULT current_user CHECK (actor <> ''),
    via          text        NOT NULL CHECK (via IN ('dashboard', 'api', 'command', 'sql')),
    from_address text        NOT NULL DEFAULT '',
    action       text        NOT NULL CHECK (action <> ''),
    subject      jsonb       NOT NULL DEFAULT '{}',
    reason       text        NOT NULL DEFAULT '',
    outcome      text        CHECK (outcome IN ('done', 'failed')),
    finished_at  timestamptz,
    result       jsonb       NOT NULL DEFAULT '{}',
    error        text
);
CREATE INDEX audit_log_action_idx ON lumin.audit_log (action, id);
CREATE INDEX audit_log_actor_idx ON lumin.audit_log (actor, id);
COMMENT ON TABLE lumin.audit_log IS 'One change that a person made or tried to make: who, what, from where and why. The row is written before the change. Nothing deletes rows automatically.';
COMMENT ON COLUMN lumin.audit_log.actor IS 'Who: the name of a token, the user that a proxy names, user and host of a command, or the database role.';
COMMENT ON COLUMN lumin.audit_log.via IS 'dashboard, api, command, or sql for functions that are called in psql.';
COMMENT ON COLUMN lumin.audit_log.from_address IS 'IP address of the caller. Empty if the change came through the database.';
COMMENT ON COLUMN lumin.audit_log.action IS 'What was ordered, such as replay, dismiss or reveal.';
COMMENT ON COLUMN lumin.audit_log.subject IS 'What it was ordered for: filters and ids. It holds no personal data.';
COMMENT ON COLUMN lumin.audit_log.reason IS 'Why, in the words of the person. E-mail addresses are removed. Empty if no reason was given.';
COMMENT ON COLUMN lumin.audit_log.outcome IS 'NULL: in progress, or the program ended before it could store the outcome.';
COMMENT ON COLUMN lumin.audit_log.result IS 'Numbers of changed rows, and ids of orders. After an error, what had changed before it.';
COMMENT ON COLUMN lumin.audit_log.error IS 'Why the change failed. NULL unless the outcome is failed.';

-- These two functions differ from migration 0003 in their row of the audit log.

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
    WITH placed AS (
        INSERT INTO lumin.replays (status, job_kinds, event_types, sources, signature_request_ids, event_ids, error_fingerprints,
                                   received_since, received_until, event_since, event_until, rate, reason)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        RETURNING id
    ), noted AS (
        INSERT INTO lumin.audit_log (via, action, subject, reason, outcome, finished_at, result)
        SELECT 'sql', 'replay',
               jsonb_strip_nulls(jsonb_build_object(
                   'status', $1, 'job_kinds', nullif($2, '{}'), 'event_types', nullif($3, '{}'), 'sources', nullif($4, '{}'),
                   'signature_request_ids', nullif($5, '{}'), 'event_ids', nullif($6, '{}'), 'error_fingerprints', nullif($7, '{}'),
                   'received_since', $8, 'received_until', $9, 'event_since', $10, 'event_until', $11, 'rate', $12)),
               coalesce($13, ''), 'done', now(), jsonb_build_object('replay', p.id)
        FROM placed p
    )
    SELECT id FROM placed
$$;

CREATE OR REPLACE FUNCTION lumin.erase(signature_request_ids text[], reason text) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    WITH placed AS (
        INSERT INTO lumin.erasures (subject, signature_request_ids, event_ids, last_event_id, reason)
        SELECT 'signature_request', $1,
               ARRAY(SELECT e.decoded_from FROM lumin.events e WHERE e.signature_request_id = ANY ($1) AND e.decoded_from IS NOT NULL
                     UNION
                     SELECT e.id FROM lumin.events e, unnest($1) AS w (id)
                     WHERE e.signature_request_id IS NULL AND position(convert_to(w.id, 'UTF8') IN e.payload) > 0),
               coalesce((SELECT max(id) FROM lumin.events), 0), $2
        RETURNING id
    ), noted AS (
        INSERT INTO lumin.audit_log (via, action, subject, reason, outcome, finished_at, result)
        SELECT 'sql', 'erase', jsonb_build_object('subject', 'signature_request', 'signature_request_ids', $1),
               coalesce($2, ''), 'done', now(), jsonb_build_object('erasure', p.id)
        FROM placed p
    )
    SELECT id FROM placed
$$;
