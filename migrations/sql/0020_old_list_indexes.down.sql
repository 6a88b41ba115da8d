CREATE INDEX IF NOT EXISTS events_type_idx ON lumin.events (event_type, received_at, id) WHERE event_type IS NOT NULL;
CREATE INDEX IF NOT EXISTS events_source_idx ON lumin.events ((source || ''), received_at, id);
