DROP INDEX lumin.runs_retrying_idx;
