-- The column "again" gets the name "rerun" in lumin.runs and
-- lumin.archived_files.
--
-- Older programs read and write "again", and may run beside this one. Both
-- columns therefore exist in version 0.2.0, and triggers give them the same
-- value. Version 0.3.0 drops "again", these triggers and their function, and
-- moves the primary key of lumin.archived_files to "rerun".
--
-- A column with a constant default is added without reading or rewriting the
-- table. Migration 0011 copies the values, without a lock on the table.

-- copy_rerun gives both columns the same value. In an INSERT, the column that
-- the program does not name is 0. In an UPDATE, the column that changes counts.
CREATE FUNCTION lumin.copy_rerun() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.rerun := greatest(NEW.again, NEW.rerun);
    ELSIF NEW.rerun = OLD.rerun THEN
        NEW.rerun := NEW.again;
    END IF;
    NEW.again := NEW.rerun;
    RETURN NEW;
END
$$;

-- lumin.runs comes last, because deliveries wait while it is locked.
ALTER TABLE lumin.archived_files
    ADD COLUMN rerun integer NOT NULL DEFAULT 0,
    ALTER COLUMN again SET DEFAULT 0;
CREATE TRIGGER lumin_copy_rerun BEFORE INSERT OR UPDATE OF again, rerun ON lumin.archived_files
    FOR EACH ROW WHEN (NEW.again <> NEW.rerun) EXECUTE FUNCTION lumin.copy_rerun();
COMMENT ON COLUMN lumin.archived_files.rerun IS 'The rerun of the run: a replay of a succeeded run archives the file once more.';
COMMENT ON COLUMN lumin.archived_files.again IS 'The same as rerun, for programs older than 0.2.0.';

-- No program names either column when it inserts a run, so both are 0. The
-- trigger is only for updates, and costs nothing while a delivery is recorded.
ALTER TABLE lumin.runs ADD COLUMN rerun integer NOT NULL DEFAULT 0;
CREATE TRIGGER lumin_copy_rerun BEFORE UPDATE OF again, rerun ON lumin.runs
    FOR EACH ROW WHEN (NEW.again <> NEW.rerun) EXECUTE FUNCTION lumin.copy_rerun();
COMMENT ON COLUMN lumin.runs.rerun IS 'How many times a replay has asked for a succeeded run to take effect once more. Part of the idempotency key.';
COMMENT ON COLUMN lumin.runs.again IS 'The same as rerun, for programs older than 0.2.0.';
