-- Conflicts between two signers in one millisecond, and decisions about
-- conflicts.

ALTER TABLE lumin.redeliveries
    ADD COLUMN another_actor   boolean NOT NULL DEFAULT false,
    ADD COLUMN signature       bytea,
    ADD COLUMN key_id          text,
    ADD COLUMN promoted_key    uuid,
    ADD COLUMN decision        text CHECK (decision IN ('promoted', 'dismissed')),
    ADD COLUMN decided_at      timestamptz,
    ADD COLUMN decided_by      text,
    ADD COLUMN decision_reason text,
    ADD COLUMN promoted_id     bigint,
    ADD CONSTRAINT redeliveries_decided CHECK (num_nulls(decision, decided_at, decided_by, decision_reason) IN (0, 4));
CREATE INDEX redeliveries_another_actor_idx ON lumin.redeliveries (event_id) WHERE another_actor AND decision IS NULL;
COMMENT ON COLUMN lumin.redeliveries.another_actor IS 'A conflict whose two bodies name different signers in signer_email. It is probably another event in the same millisecond.';
COMMENT ON COLUMN lumin.redeliveries.signature IS 'Only for a conflict: Lumin''s signature of its body. A promoted event keeps it.';
COMMENT ON COLUMN lumin.redeliveries.key_id IS 'Only for a conflict: fingerprint of the secret that verified it.';
COMMENT ON COLUMN lumin.redeliveries.promoted_key IS 'Only for a conflict: its event_key if it is promoted. NULL if an older program recorded it.';
COMMENT ON COLUMN lumin.redeliveries.decision IS 'The decision of a person about a conflict. NULL: none yet.';
COMMENT ON COLUMN lumin.redeliveries.promoted_id IS 'The event that was made from the body of this conflict.';

ALTER TABLE lumin.events ADD COLUMN promoted_from bigint;
CREATE INDEX events_promoted_from_idx ON lumin.events (promoted_from) WHERE promoted_from IS NOT NULL;
COMMENT ON COLUMN lumin.events.promoted_from IS 'The event that this event was in conflict with before a person promoted it. Its event_key is derived from that event''s key and the signer.';

CREATE OR REPLACE VIEW lumin.conflicts AS
SELECT e.id AS event_id, e.event_key, e.source, e.signature_request_id, e.event_type, e.event_time, e.received_at,
       d.payload_sha256, d.count, d.first_at, d.last_at, e.payload AS first_payload, d.payload AS other_payload,
       d.another_actor, d.decision, d.decided_at, d.decided_by, d.decision_reason, d.promoted_id
FROM lumin.redeliveries d
JOIN lumin.events e ON e.id = d.event_id
WHERE d.differs = 'content';

-- signer_email returns the signer that a body names, or NULL.
CREATE FUNCTION lumin.signer_email(payload bytea) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN nullif(lower(btrim(convert_from(payload, 'UTF8')::jsonb #>> '{event,event_metadata,signer_email}')), '');
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END
$$;

-- the_conflict locks an event and then its chosen conflict. Recording locks in
-- the same order.
CREATE FUNCTION lumin.the_conflict(event_id bigint, payload_sha256 bytea) RETURNS lumin.redeliveries
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    conflict lumin.redeliveries;
    found_n  bigint;
BEGIN
    PERFORM FROM lumin.events e WHERE e.id = the_conflict.event_id FOR NO KEY UPDATE;
    SELECT count(*) INTO found_n FROM lumin.redeliveries d
    WHERE d.event_id = the_conflict.event_id AND d.differs = 'content'
      AND (the_conflict.payload_sha256 IS NULL OR d.payload_sha256 = the_conflict.payload_sha256);
    IF found_n = 0 THEN
        RAISE EXCEPTION 'event % has no such conflict', the_conflict.event_id
            USING HINT = 'lumin.conflicts lists all conflicts by event_id and payload_sha256';
    ELSIF found_n > 1 THEN
        RAISE EXCEPTION 'event % has % conflicts', the_conflict.event_id, found_n
            USING HINT = 'choose one of them by its payload_sha256';
    END IF;
    SELECT d.* INTO conflict FROM lumin.redeliveries d
    WHERE d.event_id = the_conflict.event_id AND d.differs = 'content'
      AND (the_conflict.payload_sha256 IS NULL OR d.payload_sha256 = the_conflict.payload_sha256)
    FOR UPDATE;
    RETURN conflict;
END
$$;

-- promote_conflict stores the other body of a conflict as a separate event, and
-- orders its runs in the same transaction. A second call returns the same
-- event:
-- SELECT lumin.promote_conflict(17, 'two signers').
CREATE FUNCTION lumin.promote_conflict(
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

-- dismiss_conflict records that a conflict needs no action:
-- SELECT lumin.dismiss_conflict(17, 'the title was edited').
CREATE FUNCTION lumin.dismiss_conflict(
    event_id bigint, reason text, payload_sha256 bytea DEFAULT NULL, dismissed_by text DEFAULT current_user
) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    conflict lumin.redeliveries;
BEGIN
    IF coalesce(btrim(dismiss_conflict.reason), '') = '' THEN
        RAISE EXCEPTION 'no reason is given' USING HINT = 'give the reason for the decision; it is stored with the conflict';
    END IF;
    conflict := lumin.the_conflict(dismiss_conflict.event_id, dismiss_conflict.payload_sha256);
    IF conflict.decision = 'promoted' THEN
        RAISE EXCEPTION 'this conflict is already promoted, as event %', conflict.promoted_id
            USING HINT = 'its runs have been ordered; there is nothing left to dismiss';
    END IF;
    UPDATE lumin.redeliveries d
    SET decision = 'dismissed', decided_at = now(), decided_by = dismiss_conflict.dismissed_by, decision_reason = dismiss_conflict.reason
    WHERE d.event_id = conflict.event_id AND d.payload_sha256 = conflict.payload_sha256;
END
$$;
