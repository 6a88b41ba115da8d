CREATE OR REPLACE VIEW lumin.failed_runs AS
SELECT e.id AS event_id, r.event_key, e.source, e.signature_request_id, e.event_type, e.event_time, e.received_at,
       r.job_kind, r.attempts, r.replay_id, r.finished_at AS failed_at, r.error, r.error_fingerprint,
       r.again > 0 AS succeeded_before
FROM lumin.runs r
JOIN lumin.events e ON e.id = r.event_id
WHERE r.state = 'failed';
