DROP VIEW lumin.failed_runs;
CREATE VIEW lumin.failed_runs AS
SELECT e.id AS event_id, r.event_key, e.source, e.signature_request_id, e.event_type, e.event_time, e.received_at,
       r.job_kind, r.attempts, r.replay_id, r.finished_at AS failed_at, r.error, r.error_fingerprint
FROM lumin.runs r
JOIN lumin.events e ON e.id = r.event_id
WHERE r.state = 'failed';
COMMENT ON VIEW lumin.failed_runs IS 'Runs that failed for good and can be replayed.';
DROP VIEW lumin.dismissed_runs;
DROP FUNCTION lumin.restore_failure(uuid, text);
DROP FUNCTION lumin.dismiss_failure(uuid, text, text, text);
-- The older schema has no such state, so these runs become failed again.
UPDATE lumin.runs SET state = 'failed' WHERE state = 'dismissed';
DROP TABLE lumin.dismissals;
ALTER TABLE lumin.runs
    DROP CONSTRAINT runs_state_check,
    ADD CONSTRAINT runs_state_check CHECK (state IN ('pending', 'succeeded', 'failed', 'cancelled'));
