DROP FUNCTION lumin.dismiss_conflict(bigint, text, bytea, text);
DROP FUNCTION lumin.promote_conflict(bigint, text, bytea, text);
DROP FUNCTION lumin.the_conflict(bigint, bytea);
DROP FUNCTION lumin.signer_email(bytea);

DROP VIEW lumin.conflicts;
CREATE VIEW lumin.conflicts AS
SELECT e.id AS event_id, e.event_key, e.source, e.signature_request_id, e.event_type, e.event_time, e.received_at,
       d.payload_sha256, d.count, d.first_at, d.last_at, e.payload AS first_payload, d.payload AS other_payload
FROM lumin.redeliveries d
JOIN lumin.events e ON e.id = d.event_id
WHERE d.differs = 'content';
COMMENT ON VIEW lumin.conflicts IS 'Redeliveries whose content differs from the first delivery in more than details_url.';

ALTER TABLE lumin.events DROP COLUMN promoted_from;
ALTER TABLE lumin.redeliveries
    DROP COLUMN another_actor,
    DROP COLUMN signature,
    DROP COLUMN key_id,
    DROP COLUMN promoted_key,
    DROP COLUMN decision,
    DROP COLUMN decided_at,
    DROP COLUMN decided_by,
    DROP COLUMN decision_reason,
    DROP COLUMN promoted_id;
