ALTER TABLE lumin.programs DROP COLUMN connections;
