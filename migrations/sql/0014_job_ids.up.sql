-- A run knows the id of its job from the start. This migration adds the id to
-- pending runs of older programs.
--
-- It joins the pending runs with the live jobs and locks only the runs that it
-- changes (100,000 of two million runs, a million jobs: 18 s). Deliveries do not
-- wait. Jobs on these runs are tried again a second later. A run that a worker
-- holds is left out: its worker writes the id.
--
-- Older programs that run beside this one go on to insert runs without the id.
-- Such a run counts as queued until its first attempt.

WITH live AS (
    SELECT max(j.id) AS id, j.kind, j.args ->> 'event_key' AS event_key, j.args -> 'replay_id' AS replay_id
    FROM lumin.river_job j
    WHERE j.state IN ('available', 'pending', 'retryable', 'running', 'scheduled') AND j.args ? 'event_key'
    GROUP BY 2, 3, 4
), unlocked AS MATERIALIZED (
    SELECT r.event_key, r.job_kind, l.id
    FROM lumin.runs r
    JOIN live l ON l.event_key = r.event_key::text AND l.kind = r.job_kind AND l.replay_id = to_jsonb(r.replay_id)
    WHERE r.state = 'pending' AND r.job_id IS NULL
    FOR UPDATE OF r SKIP LOCKED
)
UPDATE lumin.runs r SET job_id = u.id
FROM unlocked u WHERE r.event_key = u.event_key AND r.job_kind = u.job_kind;

COMMENT ON COLUMN lumin.runs.job_id IS 'The River job of this run, which may have been removed since. NULL if an older program queued the run and it has had no attempt.';
