COMMENT ON COLUMN lumin.replays.planned IS 'Number of runs that matched when the order was started.';
ALTER TABLE lumin.replays DROP COLUMN planned_exactly;
CREATE INDEX events_type_idx ON lumin.events (event_type, received_at, id) WHERE event_type IS NOT NULL;
CREATE INDEX events_source_idx ON lumin.events ((source || ''), received_at, id);
DROP INDEX lumin.redeliveries_conflict_list_idx;
DROP INDEX lumin.events_list_idx;
