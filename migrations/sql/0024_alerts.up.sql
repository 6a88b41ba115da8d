-- Alerts that are sent to a webhook: what holds at this moment, and what was sent
-- about it. Programs share both tables, so that one of them sends.

CREATE TABLE lumin.alerts (
    key              text PRIMARY KEY,
    condition        text NOT NULL,
    text             text NOT NULL,
    page             text NOT NULL DEFAULT '',
    since            timestamptz NOT NULL DEFAULT now(),
    seen_at          timestamptz NOT NULL DEFAULT now(),
    sent_at          timestamptz,
    resolved_at      timestamptz,
    resolved_sent_at timestamptz
);
COMMENT ON TABLE lumin.alerts IS 'One condition that needs a person, or did within the last seven days. Programs with ALERT_WEBHOOK_URL write it.';
COMMENT ON COLUMN lumin.alerts.key IS 'The condition and what it is about, such as failure/book_revenue/1f2e3d4c5b6a.';
COMMENT ON COLUMN lumin.alerts.condition IS 'The first part of the key.';
COMMENT ON COLUMN lumin.alerts.page IS 'The dashboard''s page about it, such as /failures.';
COMMENT ON COLUMN lumin.alerts.since IS 'When a program first found that the condition holds.';
COMMENT ON COLUMN lumin.alerts.seen_at IS 'When a program last found that the condition holds.';
COMMENT ON COLUMN lumin.alerts.sent_at IS 'When a message about it was last sent. NULL: never.';
COMMENT ON COLUMN lumin.alerts.resolved_at IS 'When a program found that the condition no longer holds. NULL while it holds.';
COMMENT ON COLUMN lumin.alerts.resolved_sent_at IS 'When a message said so, or when it was clear that none is needed.';

CREATE TABLE lumin.alert_sending (
    single     boolean PRIMARY KEY DEFAULT true CHECK (single),
    holder     uuid,
    held_until timestamptz NOT NULL DEFAULT '-infinity',
    looked_at  timestamptz,
    failures   integer NOT NULL DEFAULT 0,
    next_at    timestamptz NOT NULL DEFAULT '-infinity',
    error      text NOT NULL DEFAULT ''
);
COMMENT ON TABLE lumin.alert_sending IS 'At most one row: the program that looks and sends at this moment, and how sending goes.';
COMMENT ON COLUMN lumin.alert_sending.held_until IS 'Until then no other program takes over, unless the holder stops.';
COMMENT ON COLUMN lumin.alert_sending.looked_at IS 'When the holder last examined the conditions.';
COMMENT ON COLUMN lumin.alert_sending.failures IS 'Messages that the webhook has not accepted since it last accepted one.';
COMMENT ON COLUMN lumin.alert_sending.next_at IS 'No message is sent before, because the last one was not accepted.';
