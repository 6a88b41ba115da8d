-- Orders that the API carries out once, however often they are sent.
CREATE TABLE lumin.api_orders (
    id            bytea PRIMARY KEY,
    request       bytea NOT NULL,
    token         uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
    created_at    timestamptz NOT NULL DEFAULT now(),
    claimed_until timestamptz NOT NULL,
    answer        bytea
);
CREATE INDEX api_orders_created_idx ON lumin.api_orders (created_at);
COMMENT ON TABLE lumin.api_orders IS 'An order that came through the API with an Idempotency-Key. Rows are deleted after a day.';
COMMENT ON COLUMN lumin.api_orders.id IS 'SHA-256 of the caller and the key.';
COMMENT ON COLUMN lumin.api_orders.request IS 'SHA-256 of the operation and its parameters.';
COMMENT ON COLUMN lumin.api_orders.token IS 'Marks what the order has created: see order_token of lumin.replays and lumin.erasures.';
COMMENT ON COLUMN lumin.api_orders.claimed_until IS 'Until then a request is carrying out the order, unless there is an answer. Afterwards a repeated request goes on.';
COMMENT ON COLUMN lumin.api_orders.answer IS 'The answer as JSON, without personal data. NULL: there is none yet.';

ALTER TABLE lumin.replays ADD COLUMN order_token uuid;
CREATE UNIQUE INDEX replays_order_token_idx ON lumin.replays (order_token) WHERE order_token IS NOT NULL;
COMMENT ON COLUMN lumin.replays.order_token IS 'Of the row in lumin.api_orders that ordered it. NULL: it was ordered in another way, or without an Idempotency-Key.';

ALTER TABLE lumin.erasures ADD COLUMN order_token uuid;
CREATE UNIQUE INDEX erasures_order_token_idx ON lumin.erasures (order_token) WHERE order_token IS NOT NULL;
COMMENT ON COLUMN lumin.erasures.order_token IS 'Of the row in lumin.api_orders that ordered it. NULL: it was ordered in another way, or without an Idempotency-Key.';
