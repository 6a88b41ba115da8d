-- An index for lists of retrying runs. They are few, so it is small, and recording a
-- delivery does not write to it.
--
-- Package migrations builds it before this migration, without a lock that would stop
-- deliveries: see buildFirst.

CREATE INDEX IF NOT EXISTS runs_retrying_idx ON lumin.runs (event_key, job_kind) WHERE state = 'pending' AND error IS NOT NULL;
