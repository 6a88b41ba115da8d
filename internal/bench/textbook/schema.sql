CREATE TABLE public.events (
    id                   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_key            uuid NOT NULL,
    source               text NOT NULL,
    signature_request_id text NOT NULL,
    event_type           text NOT NULL,
    event_time           timestamptz NOT NULL,
    payload              bytea NOT NULL,
    signature            bytea NOT NULL,
    received_at          timestamptz NOT NULL DEFAULT now(),
    UNIQUE (event_key, source)
);
CREATE INDEX events_signature_request_idx ON public.events (signature_request_id, event_time);

CREATE TABLE public.signature_requests (
    signature_request_id text PRIMARY KEY,
    status               text,
    title                text,
    reason               text,
    signing_type         text,
    created_at           timestamptz,
    updated_at           timestamptz,
    expires_at           timestamptz,
    last_event_type      text NOT NULL,
    last_event_time      timestamptz NOT NULL
);

CREATE TABLE public.effects (event_key uuid NOT NULL);
