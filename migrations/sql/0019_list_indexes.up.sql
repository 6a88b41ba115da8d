-- Indexes for lists of events and of conflicts.
--
-- Package migrations builds them before this migration, without a lock that would
-- stop deliveries: see buildFirst. The first reads every event (24 s for five
-- million), the second every redelivery. The statements here are for new databases.
-- They come last, because they take such a lock even so, until the end of the
-- migration.

-- The conflicts from before 0018. It locks only their rows: a redelivery of a body
-- that is such a conflict waits, and no other.
UPDATE lumin.redeliveries d SET source = e.source FROM lumin.events e
WHERE e.id = d.event_id AND d.differs = 'content' AND d.source IS NULL;

-- Lists of events of a source, of a type, or of both. The third column is never
-- NULL. NULLS FIRST keeps the planner from reading such a list by another index.
CREATE INDEX IF NOT EXISTS events_list_idx ON lumin.events (event_type, source, received_at NULLS FIRST, id);

CREATE INDEX IF NOT EXISTS redeliveries_conflict_list_idx ON lumin.redeliveries (last_at DESC, event_id DESC, payload_sha256)
    INCLUDE (source, another_actor, decision) WHERE differs = 'content';
