-- Kinds of jobs without an event: follow-up jobs and periodic jobs. Also the
-- stuck queues of each program.

CREATE TABLE lumin.other_kinds (
    kind      text        PRIMARY KEY,
    purpose   text        NOT NULL CHECK (purpose IN ('follow_up', 'periodic')),
    queue     text        NOT NULL,
    since     timestamptz NOT NULL DEFAULT now(),
    last_seen timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE lumin.other_kinds IS 'Kinds of follow-up and periodic jobs that programs have registered. They are no job types and have no runs.';
COMMENT ON COLUMN lumin.other_kinds.purpose IS 'follow_up: inserted by a job type. periodic: inserted by the program that is River''s leader.';
COMMENT ON COLUMN lumin.other_kinds.last_seen IS 'When a program that has registered the kind last started.';

ALTER TABLE lumin.programs
    ADD COLUMN other_kinds text[] NOT NULL DEFAULT '{}',
    ADD COLUMN stuck       text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN lumin.programs.other_kinds IS 'Kinds of lumin.other_kinds that the program has registered.';
COMMENT ON COLUMN lumin.programs.stuck IS 'Queues in which jobs that ignore their timeout occupy all workers of this program.';

-- retry_follow_ups returns follow-up jobs that have failed for good to the
-- queue. They get all their attempts again and keep their errors. The function
-- returns the number of jobs. A unique job does not change while an equal job
-- is in the queue.
CREATE FUNCTION lumin.retry_follow_ups(job_kinds text[] DEFAULT '{}', job_ids bigint[] DEFAULT '{}') RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    failed record;
    queues text[] := '{}';
    n      bigint := 0;
BEGIN
    FOR failed IN
        SELECT f.job_id, f.queue FROM lumin.failed_follow_ups f
        WHERE (cardinality(job_kinds) = 0 OR f.job_kind = ANY (job_kinds))
          AND (cardinality(job_ids) = 0 OR f.job_id = ANY (job_ids))
        ORDER BY f.job_id
    LOOP
        BEGIN
            UPDATE lumin.river_job j
            SET state = 'available', attempt = 0, finalized_at = NULL, scheduled_at = now()
            WHERE j.id = failed.job_id AND j.state = 'discarded';
            IF FOUND THEN
                n := n + 1;
                IF failed.queue <> ALL (queues) THEN
                    queues := queues || failed.queue;
                END IF;
            END IF;
        EXCEPTION WHEN unique_violation THEN
            NULL; -- an equal job is in the queue
        END;
    END LOOP;
    PERFORM pg_notify('lumin.river_insert', json_build_object('queue', q)::text) FROM unnest(queues) q;
    RETURN n;
END
$$;
