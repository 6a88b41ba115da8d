-- The build of each running program, for doctor and for rolling deployments.

ALTER TABLE lumin.programs ADD COLUMN version text;
COMMENT ON COLUMN lumin.programs.version IS 'Module, version and revision of the build. NULL for programs from before this column.';
