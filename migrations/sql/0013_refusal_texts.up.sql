-- Plainer words for the reasons why an order written in SQL is refused. Only
-- the texts differ from migration 0003.

CREATE OR REPLACE FUNCTION lumin.on_replay_written() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    earliest constant timestamptz := '0001-01-02 00:00:00+00';
    latest   constant timestamptz := '9999-12-30 00:00:00+00';
    wrong    text;
BEGIN
    NEW.ordered_by := coalesce(NEW.ordered_by, current_user);
    NEW.reason := coalesce(NEW.reason, '');
    NEW.job_kinds := coalesce(NEW.job_kinds, '{}');
    NEW.event_types := coalesce(NEW.event_types, '{}');
    NEW.sources := coalesce(NEW.sources, '{}');
    NEW.signature_request_ids := coalesce(NEW.signature_request_ids, '{}');
    NEW.event_ids := coalesce(NEW.event_ids, '{}');
    NEW.error_fingerprints := coalesce(NEW.error_fingerprints, '{}');
    IF array_position(NEW.job_kinds || NEW.event_types || NEW.sources || NEW.signature_request_ids || NEW.error_fingerprints, NULL) IS NOT NULL
       OR array_position(NEW.event_ids, NULL) IS NOT NULL THEN
        wrong := 'a filter contains NULL: remove the NULL';
        NEW.job_kinds := array_remove(NEW.job_kinds, NULL);
        NEW.event_types := array_remove(NEW.event_types, NULL);
        NEW.sources := array_remove(NEW.sources, NULL);
        NEW.signature_request_ids := array_remove(NEW.signature_request_ids, NULL);
        NEW.event_ids := array_remove(NEW.event_ids, NULL);
        NEW.error_fingerprints := array_remove(NEW.error_fingerprints, NULL);
    END IF;
    IF NEW.received_since NOT BETWEEN earliest AND latest OR NEW.received_until NOT BETWEEN earliest AND latest
       OR NEW.event_since NOT BETWEEN earliest AND latest OR NEW.event_until NOT BETWEEN earliest AND latest THEN
        wrong := 'a time is infinite, or outside the years 1 to 9999: correct it, or use NULL for no bound';
        NEW.received_since := CASE WHEN NEW.received_since BETWEEN earliest AND latest THEN NEW.received_since END;
        NEW.received_until := CASE WHEN NEW.received_until BETWEEN earliest AND latest THEN NEW.received_until END;
        NEW.event_since := CASE WHEN NEW.event_since BETWEEN earliest AND latest THEN NEW.event_since END;
        NEW.event_until := CASE WHEN NEW.event_until BETWEEN earliest AND latest THEN NEW.event_until END;
    END IF;
    IF NEW.rate <= 0 THEN
        wrong := format('a rate of %s runs per second is invalid: give 1 or more, or NULL for no limit', NEW.rate);
        NEW.rate := NULL;
    END IF;
    IF wrong IS NOT NULL AND NEW.state IN ('ordered', 'running') THEN
        NEW.state := 'refused';
        NEW.error := wrong;
    END IF;
    IF NEW.state IN ('done', 'refused', 'failed') THEN
        NEW.finished_at := coalesce(NEW.finished_at, now());
    END IF;
    RETURN NEW;
END
$$;
