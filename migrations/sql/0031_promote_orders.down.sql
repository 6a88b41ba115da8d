-- The function as in migration 0005.

CREATE OR REPLACE FUNCTION lumin.promote_conflict(
    event_id bigint, reason text, payload_sha256 bytea DEFAULT NULL, promoted_by text DEFAULT current_user
) RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    conflict lumin.redeliveries;
    worked   bigint;
    promoted bigint;
BEGIN
    IF coalesce(btrim(promote_conflict.reason), '') = '' THEN
        RAISE EXCEPTION 'no reason is given' USING HINT = 'give the reason for the decision; it is stored with the conflict';
    END IF;
    conflict := lumin.the_conflict(promote_conflict.event_id, promote_conflict.payload_sha256);
    IF conflict.decision = 'promoted' THEN
        RETURN conflict.promoted_id;
    ELSIF conflict.payload IS NULL THEN
        RAISE EXCEPTION 'the body of this conflict is not kept'
            USING HINT = 'retention or erasure has removed it, or the event has more bodies than are kept';
    ELSIF conflict.promoted_key IS NULL OR conflict.signature IS NULL OR conflict.key_id IS NULL THEN
        RAISE EXCEPTION 'an older program recorded this conflict without its signature'
            USING HINT = 'it can be promoted after Lumin has delivered it again; otherwise dismiss it';
    END IF;
    -- The runs of this event may belong to another source, which received this
    -- body first.
    SELECT e.id INTO worked FROM lumin.events f
    JOIN lumin.runs r ON r.event_key = f.event_key AND r.event_id <> f.id
    JOIN lumin.events e ON e.id = r.event_id
    WHERE f.id = promote_conflict.event_id AND lumin.signer_email(e.payload) = lumin.signer_email(conflict.payload)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'event % already has the runs of this signer', worked
            USING HINT = 'promoting it would process the event twice: dismiss this conflict, and promote the conflict in the other source';
    END IF;
    INSERT INTO lumin.events (event_key, source, signature_request_id, event_type, event_time, payload, payload_sha256,
                              signature, key_id, received_at, promoted_from)
    SELECT conflict.promoted_key, e.source, e.signature_request_id, e.event_type, e.event_time, conflict.payload, conflict.payload_sha256,
           conflict.signature, conflict.key_id, conflict.first_at, e.id
    FROM lumin.events e WHERE e.id = promote_conflict.event_id
    ON CONFLICT ON CONSTRAINT events_event_key_source_key DO NOTHING
    RETURNING id INTO promoted;
    IF promoted IS NULL THEN
        RAISE EXCEPTION 'another body of the same signer is already promoted'
            USING HINT = 'compare the two bodies; dismiss this conflict if they report the same event';
    END IF;
    -- A replay lets a worker create a run for each job type that subscribes to
    -- the event, because only a program has the settings of its jobs.
    INSERT INTO lumin.replays (status, job_kinds, event_ids, reason, ordered_by)
    SELECT 'missing', array_agg(t.kind ORDER BY t.kind), ARRAY[promoted], promote_conflict.reason, promote_conflict.promoted_by
    FROM lumin.job_types t, lumin.events e
    WHERE e.id = promoted AND (t.events = '{}' OR e.event_type = ANY (t.events)) AND (t.sources = '{}' OR e.source = ANY (t.sources))
    HAVING count(*) > 0;
    UPDATE lumin.redeliveries d
    SET decision = 'promoted', decided_at = now(), decided_by = promote_conflict.promoted_by,
        decision_reason = promote_conflict.reason, promoted_id = promoted
    WHERE d.event_id = conflict.event_id AND d.payload_sha256 = conflict.payload_sha256;
    RETURN promoted;
END
$$;
