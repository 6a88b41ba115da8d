-- Ordered job types: a run can wait until earlier events of its signature
-- request are worked.
--
-- The index on parked runs reads lumin.runs once (2 million runs, 270 MB: 1.2 s on
-- two busy cores). Package migrations builds it before this migration, without a
-- lock that would stop deliveries: see buildFirst.

ALTER TABLE lumin.job_types
    ADD COLUMN when_failed  text CHECK (when_failed IN ('hold', 'skip', 'cancel')),
    ADD COLUMN max_attempts smallint,
    ADD COLUMN priority     smallint;
COMMENT ON COLUMN lumin.job_types.when_failed IS 'What becomes of later events of a signature request when one fails for good. NULL: the job type is not ordered.';
COMMENT ON COLUMN lumin.job_types.max_attempts IS 'Number of attempts after which a run fails. NULL if a program from before this column registered the job type.';
COMMENT ON COLUMN lumin.job_types.priority IS 'Rank of its jobs within the queue, from 1 (first) to 4. NULL if a program from before this column registered the job type.';

-- Every row satisfies the new constraints already: see 0006.
ALTER TABLE lumin.runs
    DROP CONSTRAINT runs_state_check,
    ADD CONSTRAINT runs_state_check
        CHECK (state IN ('pending', 'parked', 'succeeded', 'failed', 'cancelled', 'dismissed')) NOT VALID,
    DROP CONSTRAINT runs_finished,
    ADD CONSTRAINT runs_finished CHECK ((state IN ('pending', 'parked')) = (finished_at IS NULL)) NOT VALID;
CREATE INDEX IF NOT EXISTS runs_parked_idx ON lumin.runs (pending_since) WHERE state = 'parked';

-- As in 0006. A dismissed run does not hold its lane: lumin.wake_lane is in
-- attach.sql.
CREATE OR REPLACE FUNCTION lumin.dismiss_failure(run_key uuid, run_kind text, why text, who text DEFAULT current_user) RETURNS boolean
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
    PERFORM lumin.wake_lane(run_key, run_kind);
    RETURN true;
END
$$;

-- The view reads the parked runs, the failed runs that hold a lane, and looks up
-- the head of each of their lanes.
CREATE VIEW lumin.lanes AS
SELECT l.job_kind, l.signature_request_id, l.when_failed,
       h.event_id AS head_event_id, h.event_key AS head_event_key, h.event_type AS head_event_type, h.event_time AS head_event_time,
       h.state AS head_state, l.waiting, l.waiting_since, now() - l.waiting_since AS age,
       f.event_id AS held_by, f.finished_at AS held_since, f.error
FROM (
    SELECT w.job_kind, w.when_failed, e.signature_request_id, count(w.parked_since) AS waiting, min(w.parked_since) AS waiting_since,
           (array_agg(e.event_key ORDER BY e.event_time, e.event_key) FILTER (WHERE w.parked_since IS NULL))[1] AS failed_key
    FROM (
        SELECT r.job_kind, t.when_failed, r.event_id, r.pending_since AS parked_since
        FROM lumin.runs r JOIN lumin.job_types t ON t.kind = r.job_kind
        WHERE r.state = 'parked' AND t.when_failed IS NOT NULL
        UNION ALL
        SELECT r.job_kind, t.when_failed, r.event_id, NULL
        FROM lumin.runs r JOIN lumin.job_types t ON t.kind = r.job_kind
        WHERE r.state = 'failed' AND t.when_failed = 'hold'
    ) w
    JOIN lumin.events e ON e.id = w.event_id
    GROUP BY w.job_kind, w.when_failed, e.signature_request_id
) l
CROSS JOIN LATERAL (
    SELECT r.event_id, r.event_key, e.event_type, e.event_time, r.state
    FROM lumin.events e
    JOIN lumin.runs r ON r.event_key = e.event_key AND r.job_kind = l.job_kind AND r.event_id = e.id
    WHERE e.signature_request_id = l.signature_request_id
      AND (r.state IN ('pending', 'parked') OR (r.state = 'failed' AND l.when_failed = 'hold'))
    ORDER BY e.event_time, e.event_key LIMIT 1
) h
LEFT JOIN lumin.runs f ON f.event_key = l.failed_key AND f.job_kind = l.job_kind;
COMMENT ON VIEW lumin.lanes IS 'Signature requests of ordered job types with parked runs, or held by a failed run. head: the first unfinished event. waiting: number of parked runs, waiting_since the oldest. held_by: event of the failed run, with held_since and error.';
COMMENT ON COLUMN lumin.runs.state IS 'pending: has a job. parked: waits, without a job, until earlier events of its signature request are worked. Otherwise finished.';
