COMMENT ON COLUMN lumin.replays.planned IS 'Number of runs that matched when the order was started.';
ALTER TABLE lumin.replays DROP COLUMN planned_exactly;
CREATE OR REPLACE VIEW lumin.dismissed_runs AS
SELECT e.id AS event_id, r.event_key, e.source, e.signature_request_id, e.event_type, e.event_time, e.received_at,
       r.job_kind, r.attempts, r.replay_id, r.finished_at AS failed_at, r.error, r.error_fingerprint,
       d.dismissed_at, d.dismissed_by, d.reason
FROM lumin.dismissals d
JOIN lumin.runs r ON r.event_key = d.event_key AND r.job_kind = d.job_kind
JOIN lumin.events e ON e.id = r.event_id
WHERE r.state = 'dismissed';
DROP TRIGGER lumin_conflict_recorded ON lumin.redeliveries;
DROP FUNCTION lumin.on_conflict_recorded();
ALTER TABLE lumin.redeliveries DROP COLUMN source;
