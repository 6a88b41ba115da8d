-- Lists stay quick, whatever they filter and however many rows there are.
--
-- The two indexes read every event or conflict. Package migrations therefore
-- builds them before this migration, without a lock that would stop deliveries:
-- see buildFirst. The statements here are for new databases.

-- Lists of events of a source, of a type, or of both. The third column is never
-- NULL. NULLS FIRST keeps the planner from reading such a list by another index.
CREATE INDEX IF NOT EXISTS events_list_idx ON lumin.events (event_type, source, received_at NULLS FIRST, id);

-- The list of conflicts, the last delivered first.
CREATE INDEX IF NOT EXISTS redeliveries_conflict_list_idx ON lumin.redeliveries (last_at DESC, event_id DESC, payload_sha256)
    INCLUDE (another_actor, decision) WHERE differs = 'content';

-- events_list_idx replaces these. A list of an older program is slower without
-- them.
DROP INDEX lumin.events_source_idx;
DROP INDEX lumin.events_type_idx;

ALTER TABLE lumin.replays ADD COLUMN planned_exactly boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN lumin.replays.planned IS 'Number of runs that matched when the order was started, or an estimate: see planned_exactly.';
COMMENT ON COLUMN lumin.replays.planned_exactly IS 'False if planned is an estimate, because counting takes long in a large database.';
