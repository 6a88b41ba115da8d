-- No value is lost, because again has the same values.
DROP TRIGGER lumin_copy_rerun ON lumin.archived_files;
ALTER TABLE lumin.archived_files
    DROP COLUMN rerun,
    ALTER COLUMN again DROP DEFAULT;
DROP TRIGGER lumin_copy_rerun ON lumin.runs;
ALTER TABLE lumin.runs DROP COLUMN rerun;
DROP FUNCTION lumin.copy_rerun();
