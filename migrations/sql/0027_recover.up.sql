-- Recovered events, late events, and job types that refuse recovered ones. These
-- statements take milliseconds, because a column with a constant default is added
-- without reading the table. See 0028 for the indexes.

ALTER TABLE lumin.events ADD COLUMN late boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN lumin.events.late IS 'The first delivery was authentic but older than MAX_EVENT_AGE. It was stored without runs.';
COMMENT ON COLUMN lumin.events.source IS 'account, app:NAME, or recovered for an event that was made from an answer of Lumin''s API. A recovered event has an empty signature and key_id.';

ALTER TABLE lumin.redeliveries
    DROP CONSTRAINT redeliveries_differs_check,
    ADD CONSTRAINT redeliveries_differs_check
        CHECK (differs IN ('nothing', 'details_url', 'content', 'unknown', 'recovered')) NOT VALID;
COMMENT ON COLUMN lumin.redeliveries.differs IS 'The part that differs from the first delivery. content: a conflict. unknown: the first body is no longer stored. recovered: the original of a recovered event.';
COMMENT ON COLUMN lumin.redeliveries.signature IS 'Only for a conflict and for the original of a recovered event: Lumin''s signature of its body. A promoted event keeps it.';
COMMENT ON COLUMN lumin.redeliveries.key_id IS 'Only for a conflict and for the original of a recovered event: fingerprint of the secret that verified it.';
COMMENT ON COLUMN lumin.redeliveries.source IS 'For a conflict: the source of its event. For the original of a recovered event: the first source that delivered it.';

ALTER TABLE lumin.job_types ADD COLUMN recovered boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN lumin.job_types.recovered IS 'False: the job type refuses recovered events.';

-- A program from before this migration does not recognize the original of a
-- recovered event, so nothing is recovered while one receives deliveries.
ALTER TABLE lumin.programs ADD COLUMN schema_version integer;
COMMENT ON COLUMN lumin.programs.schema_version IS 'The newest migration that the program knows. NULL for programs from before this column.';

-- With RECOVER_EVERY, programs that work jobs recover events.
ALTER TABLE lumin.audit_log
    DROP CONSTRAINT audit_log_via_check,
    ADD CONSTRAINT audit_log_via_check CHECK (via IN ('dashboard', 'api', 'command', 'sql', 'worker'));
COMMENT ON COLUMN lumin.audit_log.via IS 'dashboard, api, command, sql for functions that are called in psql, or worker for what a program recovers periodically.';

COMMENT ON COLUMN lumin.replays.status IS 'Which runs: failed, retrying, cancelled, missing, late, succeeded, unrecognized. NULL means failed, but does not count as a filter.';
