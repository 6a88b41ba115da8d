-- The connections of each running program, so that serve and doctor can compare
-- the sum with what the server gives.

ALTER TABLE lumin.programs ADD COLUMN connections integer;
COMMENT ON COLUMN lumin.programs.connections IS 'Connections that the program takes at most, without those that job types take through app.Env.DB. NULL for programs from before this column.';
