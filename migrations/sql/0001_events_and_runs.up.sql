-- Events, runs and signature requests. Every name is qualified, so that the
-- search_path of a connection has no effect.
--
-- Tables that are read for each event are not vacuumed or analyzed while they
-- are small. For a table without statistics, the planner assumes some size and
-- uses an index. If statistics said fifty rows, it would scan the table, and a
-- connection would keep that plan while the table grows.

CREATE TABLE lumin.events (
    id                   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_key            uuid NOT NULL,
    source               text NOT NULL,
    signature_request_id text,
    event_type           text,
    event_time           timestamptz,
    payload              bytea,
    payload_sha256       bytea NOT NULL,
    signature            bytea NOT NULL,
    key_id               text NOT NULL,
    received_at          timestamptz NOT NULL,
    payload_removed_at   timestamptz,
    decoded_from         bigint,
    CONSTRAINT events_event_key_source_key UNIQUE (event_key, source),
    CONSTRAINT events_identity_whole CHECK (num_nulls(signature_request_id, event_type, event_time) IN (0, 3)),
    CONSTRAINT events_payload_kept_or_removed CHECK ((payload IS NULL) = (payload_removed_at IS NOT NULL))
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 1000);
CREATE INDEX events_signature_request_idx ON lumin.events (signature_request_id, event_time)
    WHERE signature_request_id IS NOT NULL;
CREATE INDEX events_received_at_idx ON lumin.events (received_at);
CREATE INDEX events_unrecognized_idx ON lumin.events (id) WHERE signature_request_id IS NULL;

COMMENT ON TABLE lumin.events IS 'One event of one source, with the exact bytes that were signed. Inserted once. Only retention and erasure update it.';
COMMENT ON COLUMN lumin.events.event_key IS 'UUID version 8 of (signature_request_id, event_time, event_type). For an unrecognized event, of its body.';
COMMENT ON COLUMN lumin.events.signature_request_id IS 'NULL, together with event_type and event_time, if the event is unrecognized.';
COMMENT ON COLUMN lumin.events.key_id IS 'Fingerprint of the secret that verified the delivery.';
COMMENT ON COLUMN lumin.events.decoded_from IS 'The unrecognized event from which this event was decoded. NULL for other events.';

CREATE TABLE lumin.redeliveries (
    event_id       bigint NOT NULL,
    payload_sha256 bytea NOT NULL,
    differs        text NOT NULL CHECK (differs IN ('nothing', 'details_url', 'content', 'unknown')),
    payload        bytea,
    count          bigint NOT NULL,
    first_at       timestamptz NOT NULL,
    last_at        timestamptz NOT NULL,
    PRIMARY KEY (event_id, payload_sha256)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 1000);
CREATE INDEX redeliveries_conflict_idx ON lumin.redeliveries (event_id) WHERE differs = 'content';

COMMENT ON TABLE lumin.redeliveries IS 'One distinct repeated body of one event. Bodies after the tenth are counted in the row with the empty payload_sha256.';
COMMENT ON COLUMN lumin.redeliveries.differs IS 'The part that differs from the first delivery. content: a conflict. unknown: the first body is no longer stored.';

CREATE TABLE lumin.runs (
    event_key     uuid NOT NULL,
    job_kind      text NOT NULL,
    event_id      bigint NOT NULL,
    state         text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'succeeded', 'failed', 'cancelled')),
    replay_id     bigint NOT NULL DEFAULT 0,
    job_id        bigint,
    attempts      integer NOT NULL DEFAULT 0,
    error         text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    pending_since timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz,
    PRIMARY KEY (event_key, job_kind),
    CONSTRAINT runs_finished CHECK ((state = 'pending') = (finished_at IS NULL))
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 1000);
CREATE INDEX runs_pending_idx ON lumin.runs (pending_since) WHERE state = 'pending';
CREATE INDEX runs_failed_idx ON lumin.runs (event_key, job_kind) WHERE state = 'failed';
CREATE INDEX runs_replay_idx ON lumin.runs (replay_id) WHERE replay_id > 0;

COMMENT ON TABLE lumin.runs IS 'One job type on one event key. The row makes the effect happen only once.';
COMMENT ON COLUMN lumin.runs.replay_id IS 'The newest replay order of this run. 0: none. Jobs of older orders have no effect.';
COMMENT ON COLUMN lumin.runs.pending_since IS 'When the run last became pending: when it was created, or by a replay.';
COMMENT ON COLUMN lumin.runs.job_id IS 'The River job that last worked on this run. NULL before its first attempt.';

CREATE TABLE lumin.failures (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_key uuid NOT NULL,
    job_kind  text NOT NULL,
    replay_id bigint NOT NULL,
    job_id    bigint,
    state     text NOT NULL CHECK (state IN ('failed', 'cancelled')),
    attempts  integer NOT NULL,
    errors    jsonb[],
    failed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX failures_run_idx ON lumin.failures (event_key, job_kind);

COMMENT ON TABLE lumin.failures IS 'One final failure of one run, with River''s list of its attempts. Append-only: a replay does not change it.';

CREATE TABLE lumin.job_types (
    kind          text PRIMARY KEY,
    events        text[] NOT NULL,
    sources       text[] NOT NULL,
    transactional boolean NOT NULL,
    queue         text NOT NULL,
    since         timestamptz NOT NULL DEFAULT now(),
    last_seen     timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE lumin.job_types IS 'The job types that programs on this database have registered. If events or sources is empty, the job type subscribes to all.';

CREATE TABLE lumin.signature_requests (
    signature_request_id text PRIMARY KEY,
    status               text,
    title                text,
    reason               text,
    signing_type         text,
    created_at           timestamptz,
    updated_at           timestamptz,
    expires_at           timestamptz,
    last_event_type      text,
    last_event_time      timestamptz,
    versions             jsonb NOT NULL DEFAULT '{}'
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 1000);
CREATE INDEX signature_requests_status_idx ON lumin.signature_requests (status);

COMMENT ON TABLE lumin.signature_requests IS 'Latest known state of one signature request. The job type signature_request_state writes it.';
COMMENT ON COLUMN lumin.signature_requests.versions IS 'The event that each field comes from, so that events may arrive in any order.';
