-- For operators: all kinds of replay orders, failures by fingerprint, the use
-- of keys, erasures and running programs.

-- error_fingerprint returns 12 hex digits of a hash of an error's first line.
-- They are the same for errors that differ only in numbers, ids and quoted
-- values.
CREATE FUNCTION lumin.error_fingerprint(error text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT left(md5(regexp_replace(
        lower(left(split_part(error, E'\n', 1), 1000)),
        '"[^"]*"|''[^'']*''|[0-9a-f]*[0-9][0-9a-f-]*', '#', 'g')), 12)
$$;

ALTER TABLE lumin.runs
    ADD COLUMN error_fingerprint text GENERATED ALWAYS AS (lumin.error_fingerprint(error)) STORED;
CREATE INDEX runs_cancelled_idx ON lumin.runs (event_key, job_kind) WHERE state = 'cancelled';
-- With the state, the index also finds out whether any run of an order is
-- pending.
DROP INDEX lumin.runs_replay_idx;
CREATE INDEX runs_replay_idx ON lumin.runs (replay_id, state) WHERE replay_id > 0;
COMMENT ON COLUMN lumin.runs.error IS 'The error of the last failed attempt. NULL once the run has succeeded.';
COMMENT ON COLUMN lumin.runs.error_fingerprint IS 'The same for errors that differ only in numbers, ids and quoted values.';

-- An infinite time would escape retention, and no list could print it.
ALTER TABLE lumin.events ADD CONSTRAINT events_received_at_finite CHECK (isfinite(received_at));
CREATE UNIQUE INDEX events_decoded_from_idx ON lumin.events (decoded_from) WHERE decoded_from IS NOT NULL;
-- Lists of events are in the order of receipt. The index by source is on an
-- expression that only lists use. Otherwise a planner without statistics would
-- choose it for look-ups by event key and source.
DROP INDEX lumin.events_received_at_idx;
CREATE INDEX events_received_at_idx ON lumin.events (received_at, id);
CREATE INDEX events_source_idx ON lumin.events ((source || ''), received_at, id);
CREATE INDEX events_type_idx ON lumin.events (event_type, received_at, id) WHERE event_type IS NOT NULL;
CREATE INDEX events_key_use_idx ON lumin.events (key_id, source, received_at);
-- For retention: the events that still have a body, the oldest first.
CREATE INDEX events_payload_kept_idx ON lumin.events (received_at, id) WHERE payload_removed_at IS NULL;

ALTER TABLE lumin.replays
    DROP CONSTRAINT replays_status_check,
    DROP CONSTRAINT replays_state_check,
    ADD CONSTRAINT replays_state_check
        CHECK (state IN ('ordered', 'running', 'done', 'cancelled', 'refused', 'failed')),
    ADD COLUMN error_fingerprints text[] NOT NULL DEFAULT '{}',
    ADD COLUMN rate integer,
    ADD COLUMN planned bigint,
    ADD COLUMN withdrawn bigint NOT NULL DEFAULT 0,
    ADD COLUMN enqueued_at timestamptz,
    ADD COLUMN jobs_after bigint;
CREATE INDEX replays_open_idx ON lumin.replays (id) WHERE finished_at IS NULL;
COMMENT ON TABLE lumin.replays IS 'One replay order: it selects runs to run once more. Inserting a row places the order. Setting its state to cancelled ends it.';
COMMENT ON COLUMN lumin.replays.status IS 'Which runs: failed, retrying, cancelled, missing, succeeded, unrecognized. NULL means failed, but does not count as a filter.';
COMMENT ON COLUMN lumin.replays.state IS 'running until every run of the order has finished. refused: the order cannot be carried out; error says why.';
COMMENT ON COLUMN lumin.replays.rate IS 'Maximum number of runs per second. NULL: no limit.';
COMMENT ON COLUMN lumin.replays.planned IS 'Number of runs that matched when the order was started.';
COMMENT ON COLUMN lumin.replays.withdrawn IS 'Runs that were restored because the order was cancelled before their job started.';
COMMENT ON COLUMN lumin.replays.enqueued_at IS 'When the last run of the order became pending.';
COMMENT ON COLUMN lumin.replays.jobs_after IS 'The jobs of the order have higher ids than this.';

-- An order that is written by hand may lack values or contain invalid ones. A
-- missing value is no filter. An invalid value refuses the order at once.
-- Programs can therefore read every row.
CREATE FUNCTION lumin.on_replay_written() RETURNS trigger
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
        wrong := 'there is a NULL among the values of a filter: leave it out';
        NEW.job_kinds := array_remove(NEW.job_kinds, NULL);
        NEW.event_types := array_remove(NEW.event_types, NULL);
        NEW.sources := array_remove(NEW.sources, NULL);
        NEW.signature_request_ids := array_remove(NEW.signature_request_ids, NULL);
        NEW.event_ids := array_remove(NEW.event_ids, NULL);
        NEW.error_fingerprints := array_remove(NEW.error_fingerprints, NULL);
    END IF;
    IF NEW.received_since NOT BETWEEN earliest AND latest OR NEW.received_until NOT BETWEEN earliest AND latest
       OR NEW.event_since NOT BETWEEN earliest AND latest OR NEW.event_until NOT BETWEEN earliest AND latest THEN
        wrong := 'a time is infinite, or not in the years 1 to 9999: leave it out';
        NEW.received_since := CASE WHEN NEW.received_since BETWEEN earliest AND latest THEN NEW.received_since END;
        NEW.received_until := CASE WHEN NEW.received_until BETWEEN earliest AND latest THEN NEW.received_until END;
        NEW.event_since := CASE WHEN NEW.event_since BETWEEN earliest AND latest THEN NEW.event_since END;
        NEW.event_until := CASE WHEN NEW.event_until BETWEEN earliest AND latest THEN NEW.event_until END;
    END IF;
    IF NEW.rate <= 0 THEN
        wrong := format('a rate of %s runs a second is none: give 1 or more, or NULL for no limit', NEW.rate);
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
CREATE TRIGGER lumin_replay_written BEFORE INSERT OR UPDATE ON lumin.replays
    FOR EACH ROW EXECUTE FUNCTION lumin.on_replay_written();

-- replay places an order:
-- SELECT lumin.replay(status => 'failed', job_kinds => '{book_revenue}').
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
    reason                text DEFAULT ''
) RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO lumin.replays (status, job_kinds, event_types, sources, signature_request_ids, event_ids, error_fingerprints,
                               received_since, received_until, event_since, event_until, rate, reason)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
    RETURNING id
$$;

CREATE TABLE lumin.erasures (
    id                    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject               text NOT NULL CHECK (subject IN ('signature_request', 'email')),
    signature_request_ids text[] NOT NULL,
    event_ids             bigint[] NOT NULL,
    last_event_id         bigint NOT NULL,
    bodies                bigint NOT NULL DEFAULT 0,
    redeliveries          bigint NOT NULL DEFAULT 0,
    errors                bigint NOT NULL DEFAULT 0,
    runs_cancelled        bigint NOT NULL DEFAULT 0,
    erased_by             text NOT NULL DEFAULT current_user,
    reason                text NOT NULL,
    created_at            timestamptz NOT NULL DEFAULT now(),
    finished_at           timestamptz
);
CREATE INDEX erasures_open_idx ON lumin.erasures (id) WHERE finished_at IS NULL;
COMMENT ON TABLE lumin.erasures IS 'One erasure: subject, time, person and reason. The e-mail address itself is not stored.';
COMMENT ON COLUMN lumin.erasures.event_ids IS 'Unrecognized events that were erased. Other events are erased with their signature request.';
COMMENT ON COLUMN lumin.erasures.last_event_id IS 'The newest event when the erasure was ordered. Later events are not erased, except copies of erased ones.';
COMMENT ON COLUMN lumin.erasures.errors IS 'Number of runs and failures whose error texts were erased.';
COMMENT ON COLUMN lumin.erasures.finished_at IS 'NULL while a job or recording that started earlier could still store erased data.';

-- erase orders an erasure. A running worker carries it out within two minutes:
-- SELECT lumin.erase('{fa5c8a0b}', 'ticket 7').
CREATE FUNCTION lumin.erase(signature_request_ids text[], reason text) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO lumin.erasures (subject, signature_request_ids, event_ids, last_event_id, reason)
    SELECT 'signature_request', $1,
           ARRAY(SELECT e.decoded_from FROM lumin.events e WHERE e.signature_request_id = ANY ($1) AND e.decoded_from IS NOT NULL
                 UNION
                 SELECT e.id FROM lumin.events e, unnest($1) AS w (id)
                 WHERE e.signature_request_id IS NULL AND position(convert_to(w.id, 'UTF8') IN e.payload) > 0),
           coalesce((SELECT max(id) FROM lumin.events), 0), $2
    RETURNING id
$$;

CREATE TABLE lumin.programs (
    id         uuid PRIMARY KEY,
    host       text NOT NULL,
    pid        integer NOT NULL,
    role       text NOT NULL CHECK (role IN ('all', 'ingest', 'worker')),
    job_kinds  text[] NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    last_seen  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE lumin.programs IS 'Programs that receive or work on this database. A program deletes its row when it stops. If it was killed, last_seen no longer changes.';

CREATE VIEW lumin.failed_runs AS
SELECT e.id AS event_id, r.event_key, e.source, e.signature_request_id, e.event_type, e.event_time, e.received_at,
       r.job_kind, r.attempts, r.replay_id, r.finished_at AS failed_at, r.error, r.error_fingerprint
FROM lumin.runs r
JOIN lumin.events e ON e.id = r.event_id
WHERE r.state = 'failed';
COMMENT ON VIEW lumin.failed_runs IS 'Runs that failed for good and can be replayed.';

CREATE VIEW lumin.conflicts AS
SELECT e.id AS event_id, e.event_key, e.source, e.signature_request_id, e.event_type, e.event_time, e.received_at,
       d.payload_sha256, d.count, d.first_at, d.last_at, e.payload AS first_payload, d.payload AS other_payload
FROM lumin.redeliveries d
JOIN lumin.events e ON e.id = d.event_id
WHERE d.differs = 'content';
COMMENT ON VIEW lumin.conflicts IS 'Redeliveries whose content differs from the first delivery in more than details_url.';
