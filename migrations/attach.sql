-- This file connects our tables to River's. It is separate from the numbered
-- files because it depends on River's tables. Its objects are removed before
-- River's own migrations change those tables, and recreated afterwards. A
-- change to this file needs a new numbered migration, because databases that
-- are up to date would not get it otherwise.

-- run_key and run_replay read the run's key and replay id from a job's
-- arguments. The arguments of foreign jobs may contain anything. For those, the
-- functions return NULL and raise no error. Their bodies are parsed when they
-- are created, so they need no SET search_path, which would prevent inlining
-- into queries.
CREATE OR REPLACE FUNCTION lumin.run_key(args jsonb) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN args ->> 'event_key' ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN (args ->> 'event_key')::uuid END;

CREATE OR REPLACE FUNCTION lumin.run_replay(args jsonb) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(args -> 'replay_id') = 'number' AND args ->> 'replay_id' ~ '^[0-9]{1,18}$'
            THEN (args ->> 'replay_id')::bigint END;

-- wake_lane inserts a job that wakes the next event in the lane of a run, unless
-- this run holds the lane. A lane is the runs of one ordered job type for one
-- signature request. The job reads the lane after this transaction has
-- committed. Its queue is polled every second, so no client is notified. The
-- column when_failed exists from the sixteenth migration on.
CREATE OR REPLACE FUNCTION lumin.wake_lane(run_key uuid, run_kind text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO lumin.river_job (args, kind, max_attempts, queue)
    SELECT jsonb_build_object('lane_of', run_key, 'job_kind', run_kind), 'lumin_lane', 100, 'lumin'
    FROM lumin.job_types t
    JOIN lumin.runs r ON r.event_key = run_key AND r.job_kind = t.kind
    WHERE t.kind = run_kind AND to_jsonb(t) ->> 'when_failed' IS NOT NULL
      AND NOT (to_jsonb(t) ->> 'when_failed' = 'hold' AND r.state = 'failed');
END
$$;

-- settle_failure marks a pending run failed or cancelled and stores the errors
-- of its job. It acts only if the run still has this replay_id, and no other job
-- that is live. It looks for such a job after it has locked the run, because the
-- run may have got one since the caller looked. It never waits: the sweep settles
-- a run that another transaction holds.
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
    WHERE r.event_key = run_key AND r.job_kind = run_kind
      AND NOT EXISTS (
          SELECT FROM lumin.river_job j
          WHERE j.id = r.job_id AND j.id IS DISTINCT FROM run_job_id AND j.kind = run_kind
            AND lumin.run_key(j.args) = run_key AND lumin.run_replay(j.args) = run_replay_id
            AND j.state NOT IN ('completed', 'cancelled', 'discarded'));
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO lumin.failures (event_key, job_kind, replay_id, job_id, state, attempts, errors)
    VALUES (run_key, run_kind, run_replay_id, run_job_id, final_state, final_attempts, job_errors);
    PERFORM lumin.wake_lane(run_key, run_kind);
    RETURN true;
END
$$;

-- reopen_run sets a failed, cancelled or dismissed run to pending again,
-- because its job was revived in River. The next final failure is recorded as
-- usual.
CREATE OR REPLACE FUNCTION lumin.reopen_run(run_key uuid, run_kind text, run_replay_id bigint, run_job_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM lumin.runs r
    WHERE r.event_key = run_key AND r.job_kind = run_kind
      AND r.state IN ('failed', 'cancelled', 'dismissed') AND r.replay_id = run_replay_id
    FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
        UPDATE lumin.runs r SET state = 'pending', job_id = run_job_id, pending_since = now(), finished_at = NULL
        WHERE r.event_key = run_key AND r.job_kind = run_kind;
    END IF;
END
$$;

-- The trigger sees every final failure, including those that never reach our
-- code: a rescue after the last attempt and a cancellation from outside. It
-- must not raise an error, because River could then not complete a whole batch
-- of other jobs.
CREATE OR REPLACE FUNCTION lumin.on_river_job_finalized() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    run_key    uuid;
    run_replay bigint;
BEGIN
    run_key := lumin.run_key(NEW.args); -- a value in DECLARE is outside of the EXCEPTION below
    run_replay := lumin.run_replay(NEW.args);
    IF run_key IS NULL OR run_replay IS NULL THEN
        RETURN NULL; -- not a job of ours
    END IF;
    CASE NEW.state::text
    WHEN 'discarded' THEN
        PERFORM lumin.settle_failure(run_key, NEW.kind, run_replay, NEW.id, 'failed', NEW.attempt, NEW.errors);
    WHEN 'cancelled' THEN
        PERFORM lumin.settle_failure(run_key, NEW.kind, run_replay, NEW.id, 'cancelled', NEW.attempt, NEW.errors);
    WHEN 'completed' THEN
        NULL;
    ELSE
        PERFORM lumin.reopen_run(run_key, NEW.kind, run_replay, NEW.id);
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

-- Inserting a row into lumin.replays orders a replay, and setting its state
-- cancels it. For both, this trigger inserts the job that acts on it and wakes
-- River's clients.
CREATE OR REPLACE FUNCTION lumin.on_replay_ordered() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO lumin.river_job (args, kind, max_attempts, queue)
    VALUES (jsonb_build_object('order_id', NEW.id), 'lumin_replay', 100, 'lumin');
    PERFORM pg_notify('lumin.river_insert', '{"queue":"lumin"}');
    RETURN NULL;
END
$$;

-- The table exists from the second migration on.
DO $$
BEGIN
    IF to_regclass('lumin.replays') IS NOT NULL THEN
        CREATE OR REPLACE TRIGGER lumin_replay_ordered
            AFTER INSERT ON lumin.replays
            FOR EACH ROW WHEN (NEW.finished_at IS NULL) EXECUTE FUNCTION lumin.on_replay_ordered();
        CREATE OR REPLACE TRIGGER lumin_replay_cancelled
            AFTER UPDATE OF state ON lumin.replays
            FOR EACH ROW WHEN (NEW.state = 'cancelled' AND OLD.state <> 'cancelled')
            EXECUTE FUNCTION lumin.on_replay_ordered();
    END IF;
END
$$;

-- A run knows the id of its job. A pending run without it was queued by a
-- program of the version before this one and has had no attempt. OFFSET 0 makes
-- the planner look up each run separately. The columns of lumin.runs are named,
-- because a column that a view uses cannot be dropped.
DO $$
DECLARE
    -- The columns late and recovered exist from the 27th migration on.
    marked constant boolean := EXISTS (
        SELECT FROM pg_catalog.pg_attribute WHERE attrelid = 'lumin.job_types'::regclass AND attname = 'recovered' AND NOT attisdropped);
BEGIN
    EXECUTE format($view$
        CREATE OR REPLACE VIEW lumin.event_status AS
        SELECT e.id AS event_id, e.event_key, e.source, e.signature_request_id, e.event_type, e.event_time, e.received_at,
               k.kind AS job_kind,
               CASE
                   WHEN r.state <> 'pending' THEN r.state
                   WHEN r.state IS NULL AND t.kind IS NOT NULL AND e.signature_request_id IS NOT NULL
                        AND (t.events = '{}' OR e.event_type = ANY (t.events))
                        AND %s THEN %s
                   WHEN r.state IS NULL THEN 'not_subscribed'
                   WHEN r.job_id IS NULL THEN 'queued'
                   WHEN j.state = 'running' THEN 'running'
                   WHEN coalesce(j.attempt, r.attempts) > 0 THEN 'retrying'
                   ELSE 'queued'
               END AS status,
               CASE WHEN r.state = 'pending' AND r.job_id IS NULL THEN 0
                    WHEN r.state = 'pending' THEN coalesce(j.attempt, r.attempts) ELSE r.attempts END AS attempts,
               CASE WHEN r.state = 'pending' AND j.state <> 'running' THEN j.scheduled_at END AS next_attempt_at,
               r.error, r.replay_id, r.pending_since, r.finished_at, r.job_id
        FROM lumin.events e
        CROSS JOIN LATERAL (
            SELECT kind FROM lumin.job_types
            UNION
            SELECT job_kind FROM lumin.runs WHERE event_key = e.event_key
        ) k
        LEFT JOIN lumin.job_types t ON t.kind = k.kind
        LEFT JOIN LATERAL (
            SELECT q.event_key, q.job_kind, q.state, q.replay_id, q.job_id, q.attempts, q.error, q.pending_since, q.finished_at
            FROM lumin.runs q WHERE q.event_key = e.event_key AND q.job_kind = k.kind OFFSET 0
        ) r ON true
        LEFT JOIN LATERAL (
            SELECT q.id, q.state, q.attempt, q.scheduled_at FROM lumin.river_job q
            WHERE r.state = 'pending' AND q.id = r.job_id OFFSET 0
        ) j ON true
    $view$, CASE WHEN marked THEN $sources$CASE WHEN e.source = 'recovered' THEN t.recovered
                                ELSE t.sources = '{}' OR e.source = ANY (t.sources) END$sources$
                ELSE $sources$(t.sources = '{}' OR e.source = ANY (t.sources))$sources$ END,
            CASE WHEN marked THEN $status$CASE WHEN e.late THEN 'late' ELSE 'missing' END$status$ ELSE $status$'missing'$status$ END);
END
$$;
COMMENT ON VIEW lumin.event_status IS 'Each event with each job type. status: queued, running, retrying, succeeded, failed, cancelled or dismissed. parked: the job type is ordered, and an earlier event is not finished. missing: the job type subscribes to the event and has no run. late: the same for a late event. not_subscribed: it does not subscribe.';

-- lumin.other_kinds exists from the eighth migration on.
DO $$
DECLARE
    other constant boolean := to_regclass('lumin.other_kinds') IS NOT NULL;
BEGIN
    EXECUTE format($view$
        CREATE OR REPLACE VIEW lumin.queue_health AS
        SELECT j.queue, j.kind AS job_kind,
               t.kind IS NOT NULL OR starts_with(j.kind, 'lumin_') %s AS registered,
               q.paused_at,
               count(*) FILTER (WHERE j.state = 'available') AS queued,
               count(*) FILTER (WHERE j.state = 'running') AS running,
               count(*) FILTER (WHERE j.state IN ('retryable', 'scheduled', 'pending')) AS waiting,
               now() - min(j.scheduled_at) FILTER (WHERE j.state = 'available') AS longest_queued,
               now() - min(j.attempted_at) FILTER (WHERE j.state = 'running') AS longest_running,
               min(j.scheduled_at) FILTER (WHERE j.state IN ('retryable', 'scheduled')) AS next_attempt_at
        FROM lumin.river_job j
        LEFT JOIN lumin.job_types t ON t.kind = j.kind
        LEFT JOIN lumin.river_queue q ON q.name = j.queue
        WHERE j.state IN ('available', 'pending', 'retryable', 'running', 'scheduled')
        GROUP BY j.queue, j.kind, t.kind, q.paused_at
    $view$, CASE WHEN other THEN 'OR EXISTS (SELECT FROM lumin.other_kinds o WHERE o.kind = j.kind)' ELSE '' END);
    COMMENT ON VIEW lumin.queue_health IS 'Jobs that are not finished, by queue and kind. A job whose kind is not registered waits for a program that has registered it.';
    IF other THEN
        CREATE OR REPLACE VIEW lumin.failed_follow_ups AS
        SELECT j.id AS job_id, j.kind AS job_kind, j.queue, j.attempt AS attempts, j.created_at, j.finalized_at AS failed_at,
               j.errors[cardinality(j.errors)] ->> 'error' AS error, j.args
        FROM lumin.river_job j
        JOIN lumin.other_kinds o ON o.kind = j.kind AND o.purpose = 'follow_up'
        WHERE j.state = 'discarded';
        COMMENT ON VIEW lumin.failed_follow_ups IS 'Follow-up jobs that have failed for good. River removes them seven days after they failed. lumin.retry_follow_ups returns them to the queue.';
    END IF;
END
$$;
