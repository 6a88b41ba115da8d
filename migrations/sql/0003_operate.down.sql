DROP VIEW lumin.conflicts;
DROP VIEW lumin.failed_runs;
DROP TABLE lumin.programs;
DROP FUNCTION lumin.erase(text[], text);
DROP TABLE lumin.erasures;
DROP FUNCTION lumin.replay(text, text[], text[], text[], text[], bigint[], text[], timestamptz, timestamptz, timestamptz, timestamptz, integer, text);
DROP TRIGGER lumin_replay_written ON lumin.replays;
DROP FUNCTION lumin.on_replay_written();
DROP INDEX lumin.replays_open_idx;
-- The older schema has neither these replays nor these states.
DELETE FROM lumin.replays WHERE status <> 'failed';
UPDATE lumin.replays SET state = 'refused' WHERE state IN ('cancelled', 'failed');
ALTER TABLE lumin.replays
    DROP COLUMN jobs_after,
    DROP COLUMN enqueued_at,
    DROP COLUMN withdrawn,
    DROP COLUMN planned,
    DROP COLUMN rate,
    DROP COLUMN error_fingerprints,
    DROP CONSTRAINT replays_state_check,
    ADD CONSTRAINT replays_state_check CHECK (state IN ('ordered', 'running', 'done', 'refused')),
    ADD CONSTRAINT replays_status_check CHECK (status IN ('failed'));
DROP INDEX lumin.events_payload_kept_idx;
DROP INDEX lumin.events_key_use_idx;
DROP INDEX lumin.events_type_idx;
DROP INDEX lumin.events_source_idx;
DROP INDEX lumin.events_received_at_idx;
CREATE INDEX events_received_at_idx ON lumin.events (received_at);
DROP INDEX lumin.events_decoded_from_idx;
ALTER TABLE lumin.events DROP CONSTRAINT events_received_at_finite;
DROP INDEX lumin.runs_replay_idx;
CREATE INDEX runs_replay_idx ON lumin.runs (replay_id) WHERE replay_id > 0;
DROP INDEX lumin.runs_cancelled_idx;
ALTER TABLE lumin.runs DROP COLUMN error_fingerprint;
DROP FUNCTION lumin.error_fingerprint(text);
