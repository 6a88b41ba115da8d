CREATE INDEX river_job_args_index ON lumin.river_job USING gin (args);
CREATE INDEX river_job_metadata_index ON lumin.river_job USING gin (metadata);
