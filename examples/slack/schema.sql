CREATE SCHEMA slack;

CREATE TABLE slack.notices (
    id                   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_key            uuid NOT NULL,
    signature_request_id text NOT NULL,
    event_type           text NOT NULL,
    posted_at            timestamptz,
    UNIQUE (signature_request_id, event_type)
);
