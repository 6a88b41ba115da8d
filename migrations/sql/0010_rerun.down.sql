-- No value is lost, because again has the same values.
DROP TRIGGER lumin_copy_rerun ON lumin.archived_files;
ALTER TABLE lumin.archived_files
    DROP COLUMN rerun,
    ALTER COLUMN again DROP DEFAULT;
DROP TRIGGER lumin_copy_rerun ON lumin.runs;
ALTER TABLE lumin.runs DROP COLUMN rerun;
DROP FUNCTION lumin.copy_rerun();
COMMENT ON COLUMN lumin.runs.again IS 'How many times a replay has asked for a succeeded run to take effect once more. Part of the idempotency key.';
COMMENT ON COLUMN lumin.archived_files.again IS 'The number of the run: a replay of a succeeded run archives the file once more.';
