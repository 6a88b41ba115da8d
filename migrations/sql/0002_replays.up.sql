-- Replay orders. A filter column that is NULL or empty does not filter.

CREATE TABLE lumin.replays (
    id                    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ordered_by            text NOT NULL DEFAULT current_user,
    reason                text NOT NULL DEFAULT '',
    status                text CHECK (status IN ('failed')),
    job_kinds             text[] NOT NULL DEFAULT '{}',
    event_types           text[] NOT NULL DEFAULT '{}',
    sources               text[] NOT NULL DEFAULT '{}',
    signature_request_ids text[] NOT NULL DEFAULT '{}',
    event_ids             bigint[] NOT NULL DEFAULT '{}',
    received_since        timestamptz,
    received_until        timestamptz,
    event_since           timestamptz,
    event_until           timestamptz,
    state                 text NOT NULL DEFAULT 'ordered' CHECK (state IN ('ordered', 'running', 'done', 'refused')),
    enqueued              bigint NOT NULL DEFAULT 0,
    error                 text,
    created_at            timestamptz NOT NULL DEFAULT now(),
    started_at            timestamptz,
    finished_at           timestamptz
);

COMMENT ON TABLE lumin.replays IS 'One replay order: it selects failed runs to run once more. Inserting a row places the order.';
COMMENT ON COLUMN lumin.replays.status IS 'State of the runs to replay. NULL means failed, but does not count as a filter.';
COMMENT ON COLUMN lumin.replays.enqueued IS 'Runs that this order has set to pending so far.';
