DROP INDEX lumin.redeliveries_conflict_list_idx;
DROP INDEX lumin.events_list_idx;
