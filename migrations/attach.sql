-- What connects our tables to River's. Kept apart from the numbered files
-- because it hangs on River's tables: it is taken off before River's own
-- migrations change them, and put back afterwards.

-- settle_failure marks a pending run failed or cancelled and keeps the errors
-- of its job. It acts only on the run as this replay_id left it, and never
-- waits: a run that somebody holds is left to the sweep.
CREATE OR REPLACE FUNCTION lumin.settle_failure(
    run_key uuid, run_kind text, run_replay_id bigint, run_job_id bigint,
    final_state text, final_attempts integer, job_errors jsonb[]
) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM lumin.runs r
    WHERE r.event_key = run_key AND r.job_kind = run_kind
      AND r.state = 'pending' AND r.replay_id = run_replay_id
    FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE lumin.runs r
    SET state = final_state,
        attempts = final_attempts,
        job_id = run_job_id,
        error = coalesce(job_errors[cardinality(job_errors)] ->> 'error', r.error),
        finished_at = now()
    WHERE r.event_key = run_key AND r.job_kind = run_kind;
    INSERT INTO lumin.failures (event_key, job_kind, replay_id, job_id, state, attempts, errors)
    VALUES (run_key, run_kind, run_replay_id, run_job_id, final_state, final_attempts, job_errors);
    RETURN true;
END
$$;

-- The trigger sees every final failure, also those that never reach our code:
-- rescue on the last attempt and cancellation from outside. It must not raise,
-- or River could not finish a whole batch of other jobs.
CREATE OR REPLACE FUNCTION lumin.on_river_job_finalized() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM lumin.settle_failure(
        (NEW.args ->> 'event_key')::uuid, NEW.kind, (NEW.args ->> 'replay_id')::bigint, NEW.id,
        CASE NEW.state::text WHEN 'cancelled' THEN 'cancelled' ELSE 'failed' END,
        NEW.attempt, NEW.errors);
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'lumin: final failure of job % is left to the sweep (%)', NEW.id, SQLSTATE;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER lumin_job_finalized
    AFTER UPDATE OF state ON lumin.river_job
    FOR EACH ROW
    WHEN (NEW.state IN ('discarded', 'cancelled') AND NEW.args ? 'event_key' AND NEW.args ? 'replay_id')
    EXECUTE FUNCTION lumin.on_river_job_finalized();

-- Placing an order is inserting a row, from wherever: the job that carries it
-- out is put into the queue here, and River's clients are woken.
CREATE OR REPLACE FUNCTION lumin.on_replay_ordered() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO lumin.river_job (args, kind, max_attempts, queue)
    VALUES (jsonb_build_object('order_id', NEW.id), 'lumin_replay', 100, 'lumin');
    PERFORM pg_notify('lumin.river_insert', '{"queue":"lumin"}');
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER lumin_replay_ordered
    AFTER INSERT ON lumin.replays
    FOR EACH ROW EXECUTE FUNCTION lumin.on_replay_ordered();
