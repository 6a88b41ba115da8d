COMMENT ON COLUMN lumin.replays.status IS 'Which runs: failed, retrying, cancelled, missing, succeeded, unrecognized. NULL means failed, but does not count as a filter.';
-- The row of an event that was recovered periodically stays, as if a command had
-- recovered it.
UPDATE lumin.audit_log SET via = 'command' WHERE via = 'worker';
ALTER TABLE lumin.audit_log
    DROP CONSTRAINT audit_log_via_check,
    ADD CONSTRAINT audit_log_via_check CHECK (via IN ('dashboard', 'api', 'command', 'sql'));
COMMENT ON COLUMN lumin.audit_log.via IS 'dashboard, api, command, or sql for functions that are called in psql.';
ALTER TABLE lumin.programs DROP COLUMN schema_version;
ALTER TABLE lumin.job_types DROP COLUMN recovered;
-- An older program knows no originals of recovered events.
UPDATE lumin.redeliveries SET differs = 'unknown' WHERE differs = 'recovered';
ALTER TABLE lumin.redeliveries
    DROP CONSTRAINT redeliveries_differs_check,
    ADD CONSTRAINT redeliveries_differs_check CHECK (differs IN ('nothing', 'details_url', 'content', 'unknown'));
COMMENT ON COLUMN lumin.redeliveries.differs IS 'The part that differs from the first delivery. content: a conflict. unknown: the first body is no longer stored.';
COMMENT ON COLUMN lumin.redeliveries.signature IS 'Only for a conflict: Lumin''s signature of its body. A promoted event keeps it.';
COMMENT ON COLUMN lumin.redeliveries.key_id IS 'Only for a conflict: fingerprint of the secret that verified it.';
COMMENT ON COLUMN lumin.redeliveries.source IS 'Only for a conflict: the source of its event.';
COMMENT ON COLUMN lumin.events.source IS NULL;
ALTER TABLE lumin.events DROP COLUMN late;
