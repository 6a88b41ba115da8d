DROP VIEW lumin.lanes;
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
    RETURN true;
END
$$;
-- The older schema has no such state and no jobs for these runs. As failed runs
-- they can be replayed.
UPDATE lumin.runs SET state = 'failed', finished_at = now(), error = 'waited for an earlier event of its signature request when ordered job types were removed'
WHERE state = 'parked';
DROP INDEX lumin.runs_parked_idx;
ALTER TABLE lumin.runs
    DROP CONSTRAINT runs_finished,
    ADD CONSTRAINT runs_finished CHECK ((state = 'pending') = (finished_at IS NULL)) NOT VALID,
    DROP CONSTRAINT runs_state_check,
    ADD CONSTRAINT runs_state_check CHECK (state IN ('pending', 'succeeded', 'failed', 'cancelled', 'dismissed')) NOT VALID;
COMMENT ON COLUMN lumin.runs.state IS NULL;
ALTER TABLE lumin.job_types DROP COLUMN when_failed, DROP COLUMN max_attempts, DROP COLUMN priority;
