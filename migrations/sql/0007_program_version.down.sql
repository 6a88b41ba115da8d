ALTER TABLE lumin.programs DROP COLUMN version;
