-- Reverses attach.sql. It has no effect if nothing is attached.
DO $$
BEGIN
    IF to_regclass('lumin.river_job') IS NOT NULL THEN
        DROP TRIGGER IF EXISTS lumin_job_finalized ON lumin.river_job;
    END IF;
    IF to_regclass('lumin.replays') IS NOT NULL THEN
        DROP TRIGGER IF EXISTS lumin_replay_ordered ON lumin.replays;
        DROP TRIGGER IF EXISTS lumin_replay_cancelled ON lumin.replays;
    END IF;
END
$$;
DROP VIEW IF EXISTS lumin.failed_follow_ups;
DROP VIEW IF EXISTS lumin.queue_health;
DROP VIEW IF EXISTS lumin.event_status;
DROP FUNCTION IF EXISTS lumin.job_of(uuid, text, bigint); -- of older versions
DROP FUNCTION IF EXISTS lumin.on_replay_ordered();
DROP FUNCTION IF EXISTS lumin.on_river_job_finalized();
DROP FUNCTION IF EXISTS lumin.settle_failure(uuid, text, bigint, bigint, text, integer, jsonb[]);
DROP FUNCTION IF EXISTS lumin.wake_lane(uuid, text);
DROP FUNCTION IF EXISTS lumin.reopen_run(uuid, text, bigint, bigint);
DROP FUNCTION IF EXISTS lumin.reopen_run(uuid, text, bigint); -- of older versions
DROP FUNCTION IF EXISTS lumin.run_of(jsonb); -- of older versions
DROP FUNCTION IF EXISTS lumin.run_key(jsonb);
DROP FUNCTION IF EXISTS lumin.run_replay(jsonb);
