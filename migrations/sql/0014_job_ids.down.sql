-- Older programs accept the ids.
COMMENT ON COLUMN lumin.runs.job_id IS 'The River job that last worked on this run. NULL before its first attempt.';
