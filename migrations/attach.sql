-- What connects our tables to River's. Kept apart from the numbered files
-- because it hangs on River's tables: it is taken off before River's own
-- migrations change them, and put back afterwards. A change here comes with a
-- numbered migration, or databases that are up to date will not see it.

-- run_of reads from a job's arguments which run it works on. Jobs of other
-- making may hold anything there: then it returns NULLs rather than raise.
CREATE OR REPLACE FUNCTION lumin.run_of(args jsonb, OUT event_key uuid, OUT replay_id bigint)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN args ->> 'event_key' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                THEN (args ->> 'event_key')::uuid END,
           CASE WHEN jsonb_typeof(args -> 'replay_id') = 'number' AND args ->> 'replay_id' ~ '^[0-9]{1,18}$'
                THEN (args ->> 'replay_id')::bigint END
$$;

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
        job_id = coalesce(run_job_id, r.job_id),
        error = coalesce(job_errors[cardinality(job_errors)] ->> 'error', r.error),
        finished_at = now()
    WHERE r.event_key = run_key AND r.job_kind = run_kind;
    INSERT INTO lumin.failures (event_key, job_kind, replay_id, job_id, state, attempts, errors)
    VALUES (run_key, run_kind, run_replay_id, run_job_id, final_state, final_attempts, job_errors);
    RETURN true;
END
$$;

-- reopen_run puts a failed or cancelled run back to pending, for a job that
-- somebody has revived in River: its next final failure is one more to keep.
CREATE OR REPLACE FUNCTION lumin.reopen_run(run_key uuid, run_kind text, run_replay_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM lumin.runs r
    WHERE r.event_key = run_key AND r.job_kind = run_kind
      AND r.state IN ('failed', 'cancelled') AND r.replay_id = run_replay_id
    FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
        UPDATE lumin.runs r SET state = 'pending', pending_since = now(), finished_at = NULL
        WHERE r.event_key = run_key AND r.job_kind = run_kind;
    END IF;
END
$$;

-- The trigger sees every final failure, also those that never reach our code:
-- rescue on the last attempt and cancellation from outside. It must not raise,
-- or River could not finish a whole batch of other jobs.
CREATE OR REPLACE FUNCTION lumin.on_river_job_finalized() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    run record;
BEGIN
    SELECT * INTO run FROM lumin.run_of(NEW.args);
    IF run.event_key IS NULL OR run.replay_id IS NULL THEN
        RETURN NULL; -- not a job of ours
    END IF;
    CASE NEW.state::text
    WHEN 'discarded' THEN
        PERFORM lumin.settle_failure(run.event_key, NEW.kind, run.replay_id, NEW.id, 'failed', NEW.attempt, NEW.errors);
    WHEN 'cancelled' THEN
        PERFORM lumin.settle_failure(run.event_key, NEW.kind, run.replay_id, NEW.id, 'cancelled', NEW.attempt, NEW.errors);
    WHEN 'completed' THEN
        NULL;
    ELSE
        PERFORM lumin.reopen_run(run.event_key, NEW.kind, run.replay_id);
    END CASE;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'lumin: the new state of job % is left to the sweep (%)', NEW.id, SQLSTATE;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER lumin_job_finalized
    AFTER UPDATE OF state ON lumin.river_job
    FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state
          AND (OLD.state IN ('discarded', 'cancelled') OR NEW.state IN ('discarded', 'cancelled'))
          AND NEW.args ? 'event_key' AND NEW.args ? 'replay_id')
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

-- The table is there from the second migration on.
DO $$
BEGIN
    IF to_regclass('lumin.replays') IS NOT NULL THEN
        CREATE OR REPLACE TRIGGER lumin_replay_ordered
            AFTER INSERT ON lumin.replays
            FOR EACH ROW EXECUTE FUNCTION lumin.on_replay_ordered();
    END IF;
END
$$;
