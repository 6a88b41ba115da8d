-- Copies the values of "again" from before migration 0010.
--
-- This is a migration of its own, because 0010 locks the tables until it
-- commits. This one reads the tables once (10 million runs: 10 s) and locks
-- only the rows that it changes: runs that a replay has asked for after they
-- had succeeded, and their archived files. Deliveries, and jobs on other runs,
-- do not wait. Jobs on the changed runs are tried later.

UPDATE lumin.archived_files SET rerun = again WHERE again <> rerun;
UPDATE lumin.runs SET rerun = again WHERE again <> rerun;

CREATE OR REPLACE VIEW lumin.failed_runs AS
SELECT e.id AS event_id, r.event_key, e.source, e.signature_request_id, e.event_type, e.event_time, e.received_at,
       r.job_kind, r.attempts, r.replay_id, r.finished_at AS failed_at, r.error, r.error_fingerprint,
       r.rerun > 0 AS succeeded_before
FROM lumin.runs r
JOIN lumin.events e ON e.id = r.event_id
WHERE r.state = 'failed';
