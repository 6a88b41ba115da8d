DROP INDEX lumin.events_late_idx;
DROP INDEX lumin.events_recovered_idx;
