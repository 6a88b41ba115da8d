-- events_list_idx replaces these two. Lists by source of an older program, which may
-- still run, are slower without them.
--
-- Deliveries wait while the files are removed. This is a migration of its own, so
-- that they wait for nothing else.
DROP INDEX lumin.events_source_idx;
DROP INDEX lumin.events_type_idx;
