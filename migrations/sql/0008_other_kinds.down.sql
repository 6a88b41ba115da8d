DROP FUNCTION lumin.retry_follow_ups(text[], bigint[]);
ALTER TABLE lumin.programs DROP COLUMN other_kinds, DROP COLUMN stuck;
DROP TABLE lumin.other_kinds;
