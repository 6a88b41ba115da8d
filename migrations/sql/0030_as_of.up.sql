-- An order covers what was there when its plan was shown: nothing that settles or
-- arrives later. A program from before this migration names no as_of, and does not
-- look at it when it carries an order out.
ALTER TABLE lumin.replays ADD COLUMN as_of timestamptz;
COMMENT ON COLUMN lumin.replays.as_of IS 'Runs that settled later, retries whose last attempt began later, and events that were received later are not part of the order. NULL: created_at counts.';

-- As in 0013, and a time in the future becomes now: nothing that happens from now on
-- is part of the order.
CREATE OR REPLACE FUNCTION lumin.on_replay_written() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    earliest constant timestamptz := '0001-01-02 00:00:00+00';
    latest   constant timestamptz := '9999-12-30 00:00:00+00';
    wrong    text;
BEGIN
    NEW.ordered_by := coalesce(NEW.ordered_by, current_user);
    NEW.reason := coalesce(NEW.reason, '');
    NEW.job_kinds := coalesce(NEW.job_kinds, '{}');
    NEW.event_types := coalesce(NEW.event_types, '{}');
    NEW.sources := coalesce(NEW.sources, '{}');
    NEW.signature_request_ids := coalesce(NEW.signature_request_ids, '{}');
    NEW.event_ids := coalesce(NEW.event_ids, '{}');
    NEW.error_fingerprints := coalesce(NEW.error_fingerprints, '{}');
    IF array_position(NEW.job_kinds || NEW.event_types || NEW.sources || NEW.signature_request_ids || NEW.error_fingerprints, NULL) IS NOT NULL
       OR array_position(NEW.event_ids, NULL) IS NOT NULL THEN
        wrong := 'a filter contains NULL: remove the NULL';
        NEW.job_kinds := array_remove(NEW.job_kinds, NULL);
        NEW.event_types := array_remove(NEW.event_types, NULL);
        NEW.sources := array_remove(NEW.sources, NULL);
        NEW.signature_request_ids := array_remove(NEW.signature_request_ids, NULL);
        NEW.event_ids := array_remove(NEW.event_ids, NULL);
        NEW.error_fingerprints := array_remove(NEW.error_fingerprints, NULL);
    END IF;
    IF NEW.received_since NOT BETWEEN earliest AND latest OR NEW.received_until NOT BETWEEN earliest AND latest
       OR NEW.event_since NOT BETWEEN earliest AND latest OR NEW.event_until NOT BETWEEN earliest AND latest
       OR NEW.as_of NOT BETWEEN earliest AND latest THEN
        wrong := 'a time is infinite, or outside the years 1 to 9999: correct it, or use NULL for no bound';
        NEW.received_since := CASE WHEN NEW.received_since BETWEEN earliest AND latest THEN NEW.received_since END;
        NEW.received_until := CASE WHEN NEW.received_until BETWEEN earliest AND latest THEN NEW.received_until END;
        NEW.event_since := CASE WHEN NEW.event_since BETWEEN earliest AND latest THEN NEW.event_since END;
        NEW.event_until := CASE WHEN NEW.event_until BETWEEN earliest AND latest THEN NEW.event_until END;
        NEW.as_of := CASE WHEN NEW.as_of BETWEEN earliest AND latest THEN NEW.as_of END;
    END IF;
    IF TG_OP = 'INSERT' AND NEW.as_of > now() THEN
        NEW.as_of := now();
    END IF;
    IF NEW.rate <= 0 THEN
        wrong := format('a rate of %s runs per second is invalid: give 1 or more, or NULL for no limit', NEW.rate);
        NEW.rate := NULL;
    END IF;
    IF wrong IS NOT NULL AND NEW.state IN ('ordered', 'running') THEN
        NEW.state := 'refused';
        NEW.error := wrong;
    END IF;
    IF NEW.state IN ('done', 'refused', 'failed') THEN
        NEW.finished_at := coalesce(NEW.finished_at, now());
    END IF;
    RETURN NEW;
END
$$;

-- These functions differ from migrations 0022 and 0008 in as_of.
DROP FUNCTION lumin.replay(text, text[], text[], text[], text[], bigint[], text[], timestamptz, timestamptz, timestamptz, timestamptz, integer, text);
CREATE FUNCTION lumin.replay(
    status                text DEFAULT NULL,
    job_kinds             text[] DEFAULT '{}',
    event_types           text[] DEFAULT '{}',
    sources               text[] DEFAULT '{}',
    signature_request_ids text[] DEFAULT '{}',
    event_ids             bigint[] DEFAULT '{}',
    error_fingerprints    text[] DEFAULT '{}',
    received_since        timestamptz DEFAULT NULL,
    received_until        timestamptz DEFAULT NULL,
    event_since           timestamptz DEFAULT NULL,
    event_until           timestamptz DEFAULT NULL,
    rate                  integer DEFAULT NULL,
    reason                text DEFAULT '',
    as_of                 timestamptz DEFAULT NULL
) RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    WITH placed AS (
        INSERT INTO lumin.replays (status, job_kinds, event_types, sources, signature_request_ids, event_ids, error_fingerprints,
                                   received_since, received_until, event_since, event_until, rate, reason, as_of)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        RETURNING id
    ), noted AS (
        INSERT INTO lumin.audit_log (via, action, subject, reason, outcome, finished_at, result)
        SELECT 'sql', 'replay',
               jsonb_strip_nulls(jsonb_build_object(
                   'status', $1, 'job_kinds', nullif($2, '{}'), 'event_types', nullif($3, '{}'), 'sources', nullif($4, '{}'),
                   'signature_request_ids', nullif($5, '{}'), 'event_ids', nullif($6, '{}'), 'error_fingerprints', nullif($7, '{}'),
                   'received_since', $8, 'received_until', $9, 'event_since', $10, 'event_until', $11, 'rate', $12, 'as_of', $14)),
               coalesce($13, ''), 'done', now(), jsonb_build_object('replay', p.id)
        FROM placed p
    )
    SELECT id FROM placed
$$;

DROP FUNCTION lumin.retry_follow_ups(text[], bigint[]);
CREATE FUNCTION lumin.retry_follow_ups(
    job_kinds text[] DEFAULT '{}', job_ids bigint[] DEFAULT '{}', as_of timestamptz DEFAULT NULL
) RETURNS bigint
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
          AND (as_of IS NULL OR f.failed_at <= as_of)
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

COMMENT ON TABLE lumin.api_orders IS 'An order that came through the API with an Idempotency-Key, or from a form of the dashboard. Rows are deleted after a day.';
