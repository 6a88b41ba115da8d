-- For lists that stay quick however many rows there are: see also 0019. These
-- statements take milliseconds.

-- A conflict has the source of its event, for lists of conflicts of one source. A
-- trigger writes it, because older programs do not.
ALTER TABLE lumin.redeliveries ADD COLUMN source text;
COMMENT ON COLUMN lumin.redeliveries.source IS 'Only for a conflict: the source of its event.';

CREATE FUNCTION lumin.on_conflict_recorded() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.source := (SELECT e.source FROM lumin.events e WHERE e.id = NEW.event_id);
    RETURN NEW;
END
$$;
CREATE TRIGGER lumin_conflict_recorded BEFORE INSERT OR UPDATE ON lumin.redeliveries
    FOR EACH ROW WHEN (NEW.differs = 'content' AND NEW.source IS NULL) EXECUTE FUNCTION lumin.on_conflict_recorded();

-- OFFSET 0 makes the planner look up the run of each dismissal. It joined all runs.
CREATE OR REPLACE VIEW lumin.dismissed_runs AS
SELECT e.id AS event_id, r.event_key, e.source, e.signature_request_id, e.event_type, e.event_time, e.received_at,
       r.job_kind, r.attempts, r.replay_id, r.finished_at AS failed_at, r.error, r.error_fingerprint,
       d.dismissed_at, d.dismissed_by, d.reason
FROM lumin.dismissals d
CROSS JOIN LATERAL (
    SELECT o.event_key, o.job_kind, o.event_id, o.attempts, o.replay_id, o.finished_at, o.error, o.error_fingerprint
    FROM lumin.runs o WHERE o.event_key = d.event_key AND o.job_kind = d.job_kind AND o.state = 'dismissed' OFFSET 0
) r
JOIN lumin.events e ON e.id = r.event_id;

ALTER TABLE lumin.replays ADD COLUMN planned_exactly boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN lumin.replays.planned IS 'Number of runs that matched when the order was started, or an estimate: see planned_exactly.';
COMMENT ON COLUMN lumin.replays.planned_exactly IS 'False if planned is an estimate, because counting takes long in a large database.';
