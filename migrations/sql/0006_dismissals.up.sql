-- Failed runs that will never succeed can be dismissed, with a reason.

-- The new list of states contains the old one, so every row already satisfies
-- it. NOT VALID avoids a scan of the table, during which no delivery could be
-- recorded. New rows are checked nevertheless.
ALTER TABLE lumin.runs
    DROP CONSTRAINT runs_state_check,
    ADD CONSTRAINT runs_state_check CHECK (state IN ('pending', 'succeeded', 'failed', 'cancelled', 'dismissed')) NOT VALID;

-- This separate table is also the index of dismissed runs. Building an index on
-- lumin.runs would read the whole table under a lock.
CREATE TABLE lumin.dismissals (
    event_key    uuid NOT NULL,
    job_kind     text NOT NULL,
    reason       text NOT NULL CHECK (reason <> ''),
    dismissed_by text NOT NULL,
    dismissed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_key, job_kind)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 1000);
COMMENT ON TABLE lumin.dismissals IS 'Reason, time and person of a dismissal. It counts only while the state of the run is dismissed.';

-- dismiss_failure removes one failed run from the list of failures. It returns
-- false and changes nothing if the run is not failed or another transaction has
-- locked it:
-- SELECT lumin.dismiss_failure(event_key, job_kind, 'test data')
-- FROM lumin.failed_runs WHERE ...
CREATE FUNCTION lumin.dismiss_failure(run_key uuid, run_kind text, why text, who text DEFAULT current_user) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF coalesce(btrim(why), '') = '' OR coalesce(btrim(who), '') = '' THEN
        RAISE EXCEPTION 'a dismissal needs a reason and the name of the person who dismisses' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM FROM lumin.runs r
    WHERE r.event_key = run_key AND r.job_kind = run_kind AND r.state = 'failed'
    FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE lumin.runs r SET state = 'dismissed' WHERE r.event_key = run_key AND r.job_kind = run_kind;
    INSERT INTO lumin.dismissals AS d (event_key, job_kind, reason, dismissed_by) VALUES (run_key, run_kind, why, who)
    ON CONFLICT (event_key, job_kind) DO UPDATE
    SET reason = EXCLUDED.reason, dismissed_by = EXCLUDED.dismissed_by, dismissed_at = EXCLUDED.dismissed_at;
    RETURN true;
END
$$;

-- restore_failure changes a dismissed run back to failed, with its error. It
-- returns false and changes nothing if the run is not dismissed, if its event
-- has lost its body, or if another transaction has locked the run or the event.
-- Retention may remove the body of a dismissed run, so the event is locked too.
CREATE FUNCTION lumin.restore_failure(run_key uuid, run_kind text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM lumin.runs r
    JOIN lumin.events e ON e.id = r.event_id
    WHERE r.event_key = run_key AND r.job_kind = run_kind AND r.state = 'dismissed' AND e.payload_removed_at IS NULL
    FOR UPDATE OF r SKIP LOCKED FOR KEY SHARE OF e SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE lumin.runs r SET state = 'failed' WHERE r.event_key = run_key AND r.job_kind = run_kind;
    DELETE FROM lumin.dismissals d WHERE d.event_key = run_key AND d.job_kind = run_kind;
    RETURN true;
END
$$;

CREATE VIEW lumin.dismissed_runs AS
SELECT e.id AS event_id, r.event_key, e.source, e.signature_request_id, e.event_type, e.event_time, e.received_at,
       r.job_kind, r.attempts, r.replay_id, r.finished_at AS failed_at, r.error, r.error_fingerprint,
       d.dismissed_at, d.dismissed_by, d.reason
FROM lumin.dismissals d
JOIN lumin.runs r ON r.event_key = d.event_key AND r.job_kind = d.job_kind
JOIN lumin.events e ON e.id = r.event_id
WHERE r.state = 'dismissed';
COMMENT ON VIEW lumin.dismissed_runs IS 'Failed runs that were dismissed, with the reason. lumin.restore_failure restores a run.';

CREATE OR REPLACE VIEW lumin.failed_runs AS
SELECT e.id AS event_id, r.event_key, e.source, e.signature_request_id, e.event_type, e.event_time, e.received_at,
       r.job_kind, r.attempts, r.replay_id, r.finished_at AS failed_at, r.error, r.error_fingerprint,
       r.again > 0 AS succeeded_before
FROM lumin.runs r
JOIN lumin.events e ON e.id = r.event_id
WHERE r.state = 'failed';
COMMENT ON VIEW lumin.failed_runs IS 'Runs that failed for good and can be replayed. succeeded_before: the run had succeeded before a replay ran it once more.';
