-- Counts of deliveries and attempts, from which the dashboard draws its pictures.
--
-- A program keeps the counts of a minute in memory and writes them every few
-- seconds. Each row of a minute belongs to one program, which writes the whole
-- row again, so a repeated statement counts nothing twice. The rows of an hour
-- belong to all programs: each adds what its minutes have gained. After an hour,
-- the rows of a minute are merged into one over all programs, so programs that
-- live briefly do not add to the tables.
--
-- times counts durations by upper bound, in milliseconds: 1, 2.5, 5, 10, 25, 50,
-- 100, 250, 500, 1000, 2500, 5000, 10000, 30000, one minute, five minutes, one
-- hour, one day, and longer. It is empty if nothing was measured.

CREATE TABLE lumin.delivery_minutes (
    minute     timestamptz NOT NULL,
    source     text NOT NULL,
    result     text NOT NULL,
    reason     text NOT NULL,
    program    uuid NOT NULL,
    deliveries integer NOT NULL,
    seconds    double precision NOT NULL,
    times      integer[] NOT NULL,
    PRIMARY KEY (minute, source, result, reason, program)
) WITH (fillfactor = 70, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 1000);
CREATE INDEX delivery_minutes_unmerged_idx ON lumin.delivery_minutes (minute) WHERE program <> '00000000-0000-0000-0000-000000000000';
COMMENT ON TABLE lumin.delivery_minutes IS 'Requests to the public listener in one minute, as one program counted them. Kept for 30 days.';
COMMENT ON COLUMN lumin.delivery_minutes.source IS 'A configured source, or unknown.';
COMMENT ON COLUMN lumin.delivery_minutes.reason IS 'The code of a response other than 200; otherwise empty.';
COMMENT ON COLUMN lumin.delivery_minutes.program IS 'lumin.programs.id, also of programs that are gone. Zeros: the sum of all programs. After an hour only the sum is kept.';
COMMENT ON COLUMN lumin.delivery_minutes.seconds IS 'Sum of the times to answer verified deliveries.';
COMMENT ON COLUMN lumin.delivery_minutes.times IS 'Times to answer verified deliveries: how many took up to 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000 and 30000 ms, 1 min, 5 min, 1 h, 1 d, and longer. Empty if no delivery was verified.';

CREATE TABLE lumin.delivery_hours (
    hour       timestamptz NOT NULL,
    source     text NOT NULL,
    result     text NOT NULL,
    reason     text NOT NULL,
    deliveries integer NOT NULL,
    seconds    double precision NOT NULL,
    times      integer[] NOT NULL,
    PRIMARY KEY (hour, source, result, reason)
) WITH (fillfactor = 70, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 1000);
COMMENT ON TABLE lumin.delivery_hours IS 'The sums of lumin.delivery_minutes by hour, over all programs.';

CREATE TABLE lumin.attempt_minutes (
    minute         timestamptz NOT NULL,
    kind           text NOT NULL,
    outcome        text NOT NULL,
    program        uuid NOT NULL,
    attempts       integer NOT NULL,
    work_seconds   double precision NOT NULL,
    work_times     integer[] NOT NULL,
    effect_seconds double precision NOT NULL,
    effect_times   integer[] NOT NULL,
    PRIMARY KEY (minute, kind, outcome, program)
) WITH (fillfactor = 70, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 1000);
CREATE INDEX attempt_minutes_unmerged_idx ON lumin.attempt_minutes (minute) WHERE program <> '00000000-0000-0000-0000-000000000000';
COMMENT ON TABLE lumin.attempt_minutes IS 'Attempts of jobs that ended in one minute, as one program counted them. Kept for 30 days.';
COMMENT ON COLUMN lumin.attempt_minutes.outcome IS 'As in the metric lumin_attempts_total.';
COMMENT ON COLUMN lumin.attempt_minutes.program IS 'As in lumin.delivery_minutes.';
COMMENT ON COLUMN lumin.attempt_minutes.work_times IS 'Durations of the attempts, by the bounds of lumin.delivery_minutes.times. work_seconds is their sum.';
COMMENT ON COLUMN lumin.attempt_minutes.effect_times IS 'Times from the receipt of an event to its effect, by the same bounds. Replays do not count. effect_seconds is their sum.';

CREATE TABLE lumin.attempt_hours (
    hour           timestamptz NOT NULL,
    kind           text NOT NULL,
    outcome        text NOT NULL,
    attempts       integer NOT NULL,
    work_seconds   double precision NOT NULL,
    work_times     integer[] NOT NULL,
    effect_seconds double precision NOT NULL,
    effect_times   integer[] NOT NULL,
    PRIMARY KEY (hour, kind, outcome)
) WITH (fillfactor = 70, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 1000);
COMMENT ON TABLE lumin.attempt_hours IS 'The sums of lumin.attempt_minutes by hour, over all programs.';

CREATE TABLE lumin.backlog_minutes (
    minute                 timestamptz PRIMARY KEY,
    oldest_pending_seconds double precision NOT NULL
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 1000);
COMMENT ON TABLE lumin.backlog_minutes IS 'The age of the oldest pending run in each minute. Kept for 30 days.';
